"""Whole runs with ``thin:0.5``: the student stands in the teacher's place, whatever form the teacher has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from tests.pipeline.drop_in_teachers import FIXED, FORMS, feeds, softmax
from zskd_onnx import Cancelled, compress, verify
from zskd_onnx.events import Event

OVERRIDES = ("synthesis.count=100", "held_out=100", "distillation.epochs=1")
SIZES = ("group", "pads")
"""Attributes that may differ, because they count channels."""


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def options(form: str) -> dict[str, Any]:
    return {
        "recipe": "noise",
        "overrides": OVERRIDES,
        "student": "thin:0.5",
        "fix": FIXED.get(form),
        "allow_degenerate": True,  # teachers have random weights
    }


@pytest.mark.parametrize("write", FORMS, ids=lambda write: write.__name__)
def test_the_student_differs_from_the_teacher_in_weights_and_widths_alone(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    form = write.__name__
    teacher = write(tmp_path / "teacher.onnx")
    student = compress(teacher, tmp_path / "out", **options(form)).student

    before, after = onnx.load(teacher), onnx.load(student)
    assert [described(node) for node in after.graph.node] == [described(node) for node in before.graph.node]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.opset_import) == list(before.opset_import)
    assert after.ir_version == before.ir_version
    assert {"author": "somebody"}.items() <= {p.key: p.value for p in after.metadata_props}.items()
    weights, thinned = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (before, after))
    assert thinned.keys() == weights.keys()
    assert all(thinned[name].dtype == weights[name].dtype for name in weights)
    assert thinned["w1"].size == weights["w1"].size / 2

    whole, small = session(teacher), session(student)
    assert interface(small) == interface(whole)
    call = feeds(teacher, form)
    for value, expected in zip(small.run(None, call), whole.run(None, call), strict=True):
        if isinstance(expected, np.ndarray):
            assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        else:
            assert [row.keys() for row in value] == [row.keys() for row in expected]
    assert verify(student, teacher=teacher, fix=FIXED.get(form), isolate=False).interface == "fits"


def described(node: onnx.NodeProto) -> tuple[Any, ...]:
    """What a node is, without the attributes that count channels."""
    attributes = {a.name: a.SerializeToString() for a in node.attribute if a.name not in SIZES}
    return node.name, node.domain, node.op_type, list(node.input), list(node.output), attributes


def interface(opened: ort.InferenceSession) -> list[tuple[Any, ...]]:
    return [(value.name, value.type, value.shape) for value in [*opened.get_inputs(), *opened.get_outputs()]]


def test_a_resumed_run_gives_the_same_student(tmp_path: Path) -> None:
    """It is ended in both stages; the recipe does not say how students start, so that the teacher's channels remain."""
    teacher = softmax(tmp_path / "teacher.onnx")
    overrides = (
        *("synthesis.count=300", "held_out=100", "distillation.epochs=2", "distillation.batch_size=8"),
        *("distillation.loss_weights.blocks=1", "fine_tuning.epochs=1", "fine_tuning.augmentation.fraction=0"),
    )
    settings = {"recipe": "noise", "student": "thin:0.5", "overrides": overrides}
    whole = compress(teacher, tmp_path / "whole", **settings, allow_degenerate=True).student
    for resume, stage in ((False, "distillation"), (True, "fine-tuning")):

        def cancel(event: Event, stage: str = stage) -> None:
            if (event.kind, event.stage, event.completed) == ("progress", stage, 20):
                raise Cancelled

        options = {"resume": True} if resume else settings
        with pytest.raises(Cancelled):
            compress(teacher, tmp_path / "out", listener=cancel, allow_degenerate=True, **options)
    assert (tmp_path / "out" / "checkpoint.pt").is_file()
    result = compress(None, tmp_path / "out", resume=True, allow_degenerate=True)
    assert any("initialised from the teacher's channels" in note for note in result.notes)
    assert result.student.read_bytes() == whole.read_bytes()
