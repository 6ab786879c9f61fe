"""Verification against a teacher: its outputs, and whether the student was made from this very file."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from zskd_onnx import ParityError, UsageError, verify


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
