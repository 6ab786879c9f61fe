"""Evaluation of a student beside its teacher, against onnxruntime and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.conftest import Exports, SaveModel, export
from zskd_onnx import BeliefMatching, CompressionResult, ParityError, compress, evaluate, verify
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session


@pytest.fixture(scope="module")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = held_out_digits()
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x=x, y=y)
    return path


def test_against_onnxruntime(finished: CompressionResult, digits_file: Path, digits_data: Path) -> None:
    evaluation = evaluate(finished.student.parent, digits_file, digits_data)
    x, y = held_out_digits()
    logits = [
        open_session(path).run(None, {"image": x})[0].astype(np.float64) for path in (digits_file, finished.student)
    ]
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in logits)
    teacher_classes, student_classes = p.argmax(1), q.argmax(1)
    assert evaluation.samples == 450
    assert evaluation.agreement == pytest.approx((student_classes == teacher_classes).mean(), abs=1e-9)
    assert evaluation.divergence == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-3)
    for quality, classes in (
        (evaluation.teacher_quality, teacher_classes),
        (evaluation.student_quality, student_classes),
    ):
        assert quality is not None
        assert quality.accuracy == pytest.approx((classes == y).mean())
        assert quality.class_accuracy == pytest.approx([(classes[y == k] == k).mean() for k in range(10)])
    assert evaluation.transitions is None
    assert not any("teacher's accuracy" in note for note in evaluation.notes)


def test_a_student_that_answers_one_class(
    save_model: SaveModel, digits_file: Path, digits_data: Path, tmp_path: Path
) -> None:
    """It fits in the teacher's place, and its answer to the teacher's commonest class is right."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["logits"]),
    ]
    weights = {"w": torch.randn(64, 10) * 1e-6, "b": torch.eye(10)[4]}
    model = onnx.load(save_model(nodes, ["N", 1, 8, 8], ["N", 10], weights, metadata={"zskd.input_range": "0,16"}))
    model.graph.input[0].name, model.graph.output[0].name = "image", "logits"
    onnx.save(model, tmp_path / "constant.onnx")
    evaluation = evaluate(tmp_path / "constant.onnx", digits_file, digits_data)
    one_class, chance = evaluation.notes
    assert "the student answers class 4 to all 450 samples" in one_class
    assert "the agreement on 450 samples is near chance, 10.00 %" in chance
    assert evaluation.to_dict()["notes"] == list(evaluation.notes)
    verification = verify(tmp_path / "constant.onnx", teacher=digits_file, eval_data=digits_data, isolate=False)
    assert verification.notes == evaluation.notes


def test_labels_of_another_data_set(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    x, y = held_out_digits()
    np.savez(tmp_path / "data.npz", images=x, labels=(y + 1.0) % 10)
    arrays, chance, *_ = evaluate(finished.student, digits_file, tmp_path / "data.npz").notes
    assert "reads samples from array images" in arrays
    assert "the teacher's accuracy on the real samples is near chance" in chance


def test_without_class_numbers(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=held_out_digits()[0])
    content = evaluate(
        finished.student, digits_file, tmp_path / "x.npz", belief_matching=BeliefMatching(samples=3, steps=4)
    ).to_dict()
    assert "accuracy" not in content
    assert 0 < content["agreement"] <= 1
    assert content["belief_matching"]["samples"] == 3
    assert len(content["belief_matching"]["curves"]["teacher"]) == 4


def test_teacher_compared_with_itself(digits_file: Path, digits_data: Path) -> None:
    evaluation = evaluate(digits_file, digits_file, digits_data, belief_matching=BeliefMatching(samples=20, steps=20))
    assert (evaluation.agreement, evaluation.divergence) == (1, 0)
    assert evaluation.teacher_quality == evaluation.student_quality
    assert evaluation.transitions is not None
    assert evaluation.transitions.error == 0
    assert evaluation.transitions.student[-1] > 0.9


def test_belief_matching_repeats(finished: CompressionResult, digits_file: Path, digits_data: Path) -> None:
    walks = BeliefMatching(samples=5, steps=5)
    first, second = (
        evaluate(finished.student, digits_file, digits_data, belief_matching=walks).transitions for _ in range(2)
    )
    assert first == second


def test_input_range_is_that_of_the_students_file(exports: Exports, tmp_path: Path) -> None:
    """LeNet-5's own file has no range, and byte images have to be brought to the range of the run."""
    network, teacher = exports.network("lenet5"), tmp_path / "teacher.onnx"
    export(network.module, network.shape, teacher, "17", fixed=False)
    settings = ("synthesis.count=100", "synthesis.iterations=1", "held_out=100", "distillation.epochs=1")
    student = compress(teacher, tmp_path / "out", overrides=settings, input_range=(-3, 5)).student
    pixels = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    x = (pixels[:, None] / 255 * 8 - 3).astype(np.float32)
    y = open_session(teacher).run(None, {"input": x})[0].argmax(1)
    np.savez(tmp_path / "data.npz", x=pixels, y=y)
    quality = evaluate(student, teacher, tmp_path / "data.npz").teacher_quality
    assert quality is not None
    assert quality.accuracy == 1


def test_student_of_another_teacher(exports: Exports, digits_file: Path, digits_data: Path) -> None:
    with pytest.raises(ParityError, match="the teacher has"):
        evaluate(digits_file, exports.path("lenet5", "17"), digits_data)
