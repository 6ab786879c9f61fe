"""Fine-tuning of classifiers in the forms in which they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.pipeline.drop_in_teachers import FIXED, FORMS, half_precision
from zskd_onnx import load_teacher
from zskd_onnx.events import silent
from zskd_onnx.importer.file.stored_tensors import tensors_of
from zskd_onnx.quantization.fine_tuning import fine_tune
from zskd_onnx.quantization.prepare import prepare
from zskd_onnx.quantization.quantise_model import convert

FIXED_CONSTANTS = ("factor", "sizes", "names", "one", "gain")
"""Constants of the forms that are no weights."""


@pytest.mark.parametrize("form", [form for form in FORMS if form is not half_precision], ids=lambda form: form.__name__)
def test_each_form_can_be_fine_tuned(tmp_path: Path, form: Callable[[Path], Path]) -> None:
    """The converted file keeps its interface, which ``convert`` checks; only weights change."""
    teacher = load_teacher(form(tmp_path / "float.onnx"), fix=FIXED.get(form.__name__))
    unit = torch.rand((40, *teacher.domain.shape), generator=torch.Generator().manual_seed(0))
    model = prepare(teacher)
    before = model.SerializeToString(deterministic=True)
    quantised = convert(model, teacher, "int8", unit)
    tuned = fine_tune(model, quantised, teacher, unit, 3, 0, torch.device("cpu"), silent)
    assert model.SerializeToString(deterministic=True) == before
    convert(tuned, teacher, "int8", unit)
    stored, trained = tensors_of(model), tensors_of(tuned)
    changed = {name for name in stored if stored[name].SerializeToString() != trained[name].SerializeToString()}
    assert not changed & set(FIXED_CONSTANTS)
    assert len([name for name in changed if getattr(stored[name], "dims", ())]) >= 4  # weights and biases
    assert [node.SerializeToString() for node in model.graph.node] == [
        node.SerializeToString() for node in tuned.graph.node
    ]


def test_the_same_seed_gives_the_same_weights(digits_file: Path) -> None:
    teacher = load_teacher(digits_file)
    unit = torch.rand((64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    model = prepare(teacher)
    quantised = convert(model, teacher, "int8", unit)
    first, same, other = (
        fine_tune(model, quantised, teacher, unit, 8, seed, torch.device("cpu"), silent).SerializeToString(
            deterministic=True
        )
        for seed in (0, 0, 1)
    )
    assert first == same
    assert first != other
