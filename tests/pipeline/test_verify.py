"""Verification against a teacher: its outputs, and whether the student was made from this very file."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from zskd_onnx import CompressionResult, ParityError, UnsupportedTeacherError, UsageError, Verification
from zskd_onnx import verify as verify_in_a_process
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session

verify = partial(verify_in_a_process, isolate=False)


def with_inner_output(source: Path, target: Path) -> Path:
    """The teacher with the values before its last layer as a second output, 'dense_2'."""
    model = onnx.load(source)
    last = model.graph.node[-1]
    model.graph.node.append(helper.make_node("Identity", [last.input[0]], ["dense_2"]))
    model.graph.output.append(helper.make_tensor_value_info("dense_2", TensorProto.FLOAT, ["batch", 52]))
    onnx.save(model, target)
    return target


@pytest.fixture
def student(digits_file: Path, tmp_path: Path) -> Path:
    """A student's file without metadata: the teacher's net itself."""
    model = onnx.load(digits_file)
    del model.metadata_props[:]
    helper.set_model_props(model, {"zskd.input_range": "0,16"})
    path = tmp_path / "run" / "student.onnx"
    path.parent.mkdir()
    onnx.save(model, path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_metadata(student: Path, teacher: Path) -> None:
    model = onnx.load(student)
    helper.set_model_props(model, {"zskd.input_range": "0,16", "zskd.teacher_sha256": digest(teacher)})
    onnx.save(model, student)


def write_manifest(student: Path, teacher: Path) -> None:
    content = {"student_sha256": digest(student), "teacher_sha256": digest(teacher)}
    (student.parent / "manifest.json").write_text(json.dumps(content))


def test_outputs_that_the_student_lacks_are_named(student: Path, digits_file: Path, tmp_path: Path) -> None:
    teacher = with_inner_output(digits_file, tmp_path / "teacher.onnx")
    result = verify(student, teacher=teacher)
    assert result.missing_outputs == ("dense_2",)
    assert "lacks dense_2" in result.interface
    assert result.to_dict()["missing_outputs"] == ["dense_2"]
    whole = verify(student, teacher=digits_file)
    assert (whole.interface, whole.missing_outputs) == ("fits", ())


def test_without_a_record_any_teacher_that_fits_passes(student: Path, digits_file: Path) -> None:
    assert verify(student, teacher=digits_file).teacher_digest == "not recorded"
    assert verify(student).teacher_digest == "no teacher given"


@pytest.mark.parametrize("place", ["metadata", "manifest"])
def test_another_teacher_of_the_same_interface_is_refused(
    student: Path, digits_file: Path, tmp_path: Path, place: str
) -> None:
    other = tmp_path / "other.onnx"
    model = onnx.load(digits_file)
    model.doc_string = "retrained"
    onnx.save(model, other)
    {"metadata": write_metadata, "manifest": write_manifest}[place](student, digits_file)
    assert verify(student, teacher=digits_file).teacher_digest == "matches"
    with pytest.raises(ParityError, match="another teacher") as caught:
        verify(student, teacher=other)
    assert place in str(caught.value)
    assert "other.onnx" in str(caught.value)


def test_a_manifest_that_is_none_is_a_usage_error(student: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(student.parent, copy)
    for content in ("[]", "{}", "nothing"):
        (copy / "manifest.json").write_text(content)
        with pytest.raises(UsageError, match="not a manifest"):
            verify(copy)


def with_labels(source: Path, target: Path, *, crash: bool = False, shift: int = 0, first: bool = False) -> Path:
    """The file with a second output, 'label': the number of the largest score.

    Args:
        crash: divide the smallest 64-bit number by -1, which ends the process on x86.
        shift: is added to the label.
        first: put it before the scores.
    """
    model = onnx.load(source)
    graph = model.graph
    numbers = {"zero": 0, "minus_one": -1, "smallest": -(2**63), "shift": shift}
    graph.initializer.extend(numpy_helper.from_array(np.array(n, np.int64), name) for name, n in numbers.items())
    graph.node.extend(
        [
            helper.make_node("ArgMax", [graph.output[0].name], ["top"], axis=1, keepdims=0),
            helper.make_node("Mul", ["top", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "minus_one"], ["divisor"]),
            helper.make_node("Add", ["nothing", "smallest"], ["dividend"]),
            helper.make_node("Div", ["dividend", "divisor"], ["label"])
            if crash
            else helper.make_node("Add", ["top", "shift"], ["label"]),
        ]
    )
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"])
    outputs = [label, *graph.output] if first else [*graph.output, label]
    del graph.output[:]
    graph.output.extend(outputs)
    onnx.save(model, target)
    return target


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="other processors do not trap")
def test_a_student_that_crashes_onnxruntime_fails_the_check(student: Path, digits_file: Path, tmp_path: Path) -> None:
    teacher = with_labels(digits_file, tmp_path / "teacher.onnx")
    crashing = with_labels(student, tmp_path / "crashing.onnx", crash=True)
    with pytest.raises(ParityError, match=r"crashing.onnx: the process crashed \(SIGFPE\) while running the student"):
        verify_in_a_process(crashing, teacher=teacher)


def test_results_and_errors_come_back_from_the_process(student: Path, digits_file: Path, tmp_path: Path) -> None:
    assert verify_in_a_process(student).to_dict() == verify(student).to_dict()
    with pytest.raises(UnsupportedTeacherError, match="not an ONNX model"):
        verify_in_a_process(student, teacher=Path(__file__))


def test_labels_are_checked(student: Path, digits_file: Path, tmp_path: Path) -> None:
    teacher = with_labels(digits_file, tmp_path / "teacher.onnx")
    assert verify(with_labels(student, tmp_path / "good.onnx"), teacher=teacher).interface == "fits"
    with pytest.raises(ParityError, match="output 'label' is not the label of the largest score"):
        verify(with_labels(student, tmp_path / "shifted.onnx", shift=1), teacher=teacher)
    with pytest.raises(ParityError, match="in this order"):
        verify(with_labels(student, tmp_path / "swapped.onnx", first=True), teacher=teacher)


def test_other_classes_are_refused(student: Path, digits_file: Path, tmp_path: Path) -> None:
    model = onnx.load(student)
    graph, scores = model.graph, model.graph.output[0].name
    graph.node[-1].output[0] = "all"
    graph.initializer.append(numpy_helper.from_array(np.arange(9), "nine"))
    graph.node.append(helper.make_node("Gather", ["all", "nine"], [scores], axis=1))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9
    onnx.save(model, tmp_path / "nine.onnx")
    with pytest.raises(ParityError, match=r"has shape .*9.*, the teacher's .*10"):
        verify(tmp_path / "nine.onnx", teacher=digits_file)


def scores_of(path: Path, x: np.ndarray) -> torch.Tensor:
    session = open_session(path)
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x})[0])


def test_figures_by_hand(finished: CompressionResult, digits_file: Path, digits_data: Path) -> None:
    x, y = held_out_digits()
    result = verify(finished.student, teacher=digits_file, eval_data=digits_data)
    teacher, student = (scores_of(path, x) for path in (digits_file, finished.student))
    same = teacher.argmax(1) == student.argmax(1)
    confident = teacher.softmax(1).amax(1) >= 0.9
    assert result.samples == len(x)
    assert result.agreement == pytest.approx(float(same.float().mean()))
    assert result.confident_agreement == pytest.approx(float(same[confident].float().mean()))
    divergence = (teacher.softmax(1) * (teacher.log_softmax(1) - student.log_softmax(1))).sum(1).mean()
    assert result.divergence == pytest.approx(float(divergence), rel=1e-4)
    assert result.accuracy is not None
    assert result.class_accuracy is not None
    assert result.accuracy.student == pytest.approx(float((student.argmax(1).numpy() == y).mean()))
    of_three = float((student.argmax(1).numpy()[y == 3] == 3).mean())
    assert result.class_accuracy.student[3] == pytest.approx(of_three)
    assert result.bytes is not None
    assert result.bytes.student == finished.student.stat().st_size
    assert result.parameters is not None
    weights = [
        tensor for tensor in onnx.load(finished.student).graph.initializer if len(tensor.dims) and tensor.data_type == 1
    ]
    assert result.parameters.student == sum(math.prod(tensor.dims) for tensor in weights)
    assert result.latency is not None
    assert 0 < result.latency.student.median <= result.latency.student.p95


def gates_of(result: Verification) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in result.gates}


def test_gates(finished: CompressionResult, digits_file: Path, digits_data: Path) -> None:
    options = {"teacher": digits_file, "eval_data": digits_data}
    loose = {"min_agreement": 0.01, "min_accuracy": 0.01, "max_accuracy_drop": 1.0, "max_latency_ratio": 1e6}
    tight = {"min_agreement": 1.0, "min_accuracy": 1.0, "max_accuracy_drop": -1.0, "max_latency_ratio": 1e-6}
    assert gates_of(verify(finished.student, **options, **loose)) == dict.fromkeys(loose, True)
    assert gates_of(verify(finished.student, **options, **tight)) == dict.fromkeys(tight, False)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_latency_ratio": 1.0}, "--max-latency-ratio compares the student with its teacher; give --teacher too"),
        ({"teacher": True, "max_accuracy_drop": 0.1}, "--max-accuracy-drop needs real samples with labels"),
        ({"teacher": True, "min_agreement": 0.1}, "--min-agreement needs samples"),
        ({"eval_data": "real.npz"}, "give --teacher too"),
    ],
)
def test_options_that_need_another(student: Path, digits_file: Path, options: dict[str, Any], match: str) -> None:
    if "teacher" in options:
        options = {**options, "teacher": digits_file}
    with pytest.raises(UsageError, match=match):
        verify(student, **options)


def test_gates_on_accuracy_need_labels(student: Path, digits_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", x=held_out_digits()[0])
    unlabelled = {"teacher": digits_file, "eval_data": tmp_path / "digits.npz"}
    assert verify(student, **unlabelled).agreement == 1
    with pytest.raises(UsageError, match="has no labels y"):
        verify(student, **unlabelled, min_accuracy=0.5)
