"""Runs in a wrong input range end before training, or warn; a run in the right one says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import SMALL
from tests.teacher.signature.writings import bytes_, unit
from zskd_onnx import CompressionResult, compress, prepare
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.errors import QualityError
from zskd_onnx.pipeline.judge_samples import judge_samples

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of a teacher for 0..255 in the range 0..1: its folder, and its error."""
    folder = tmp_path_factory.mktemp("collapsed")
    teacher = bytes_().save(folder / "teacher.onnx")
    with pytest.raises(QualityError) as error:
        compress(teacher, folder / "out", recipe="zskd", overrides=SMALL, input_range=(0, 1))
    return folder, str(error.value)


def test_one_class_on_all_samples_ends_the_run_before_training(collapsed: tuple[Path, str]) -> None:
    folder, message = collapsed
    assert "predicts only" in message
    assert "of 10 classes on" in message
    assert "--input-range LOW,HIGH" in message
    assert "--allow-degenerate" in message
    assert not (folder / "out" / "student.onnx").exists()
    assert (folder / "out" / "transfer-set" / "index.json").exists()


def test_allow_degenerate_goes_on_and_warns(collapsed: tuple[Path, str]) -> None:
    folder, _ = collapsed
    result = compress(None, folder / "out", resume=True, allow_degenerate=True)
    assert any("of 10 classes" in warning for warning in result.warnings)
    assert any("suggest the range 0..255" in warning for warning in result.warnings)


def test_samples_whose_classes_come_in_turn_are_judged_fairly(digits_file: Path, digits_data: Path) -> None:
    """25,000 samples: every 25th would have one of two classes."""
    plan = prepare(digits_file, recipe="procedural")
    with np.load(digits_data) as data:
        by_class = [torch.from_numpy(data["x"][data["y"] == label][:10]) for label in range(10)]
    inputs = plan.teacher.domain.to_unit(torch.stack(by_class, 1).flatten(0, 1)).half().repeat(250, 1, 1, 1)
    answers = judge_samples(plan, Samples(inputs, torch.zeros((len(inputs), 10))), allow_degenerate=False)
    assert len(inputs) == 25_000
    assert answers.named == 10


@pytest.fixture(scope="module")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    """A short run in the inferred range, whose student is poor, scored on real digits."""
    folder = tmp_path_factory.mktemp("inferred")
    x, y = bytes_().digits()
    np.savez(folder / "test.npz", x=x, y=y)
    teacher = bytes_().save(folder / "teacher.onnx")
    return compress(teacher, folder / "out", recipe="zskd", overrides=SMALL, eval_data=folder / "test.npz")


def test_the_range_and_its_certainty_are_in_result_and_manifest(inferred: CompressionResult) -> None:
    assert inferred.domain.certainty == "inferred"
    assert inferred.domain.words == "in the inferred range 0..255"
    assert inferred.answers.named >= 9
    manifest = json.loads(inferred.manifest.read_text())
    assert manifest["input_range"]["words"] == "in the inferred range 0..255"
    assert manifest["answers"]["classes"] == 10
    assert manifest["warnings"] == list(inferred.warnings)


def test_a_student_far_below_its_teacher_is_never_without_a_warning_of_the_range(inferred: CompressionResult) -> None:
    assert inferred.accuracy is not None
    assert inferred.accuracy.teacher - inferred.accuracy.student > 0.05
    assert any("points below the teacher" in warning and "0..255" in warning for warning in inferred.warnings)


def test_huge_logits_are_doubted(tmp_path: Path) -> None:
    teacher = unit().save(tmp_path / "teacher.onnx")
    result = compress(
        teacher,
        tmp_path / "out",
        recipe="procedural",
        overrides=(*SMALL[2:], "distillation.epoch_samples=1280"),
        input_range=(0, 255),
    )
    assert any("the input range is probably too large" in warning for warning in result.warnings)
