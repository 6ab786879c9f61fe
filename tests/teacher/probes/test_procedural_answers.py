"""A teacher's predictions on procedural images, kind by kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.conftest import export
from zskd_onnx import load_teacher
from zskd_onnx.procedural.settings import KINDS, drawable_kinds
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.procedural_answers import BATCH, procedural_answers
from zskd_onnx.teacher.teacher import Teacher


@pytest.fixture
def digits_teacher(digits_file: Path) -> Teacher:
    return load_teacher(digits_file)


def test_answers_are_those_of_onnxruntime(digits_file: Path, digits_teacher: Teacher) -> None:
    session = onnxruntime.InferenceSession(digits_file)
    answers = procedural_answers(digits_teacher)
    assert set(answers) == {"level_lines", "objects", "dead_leaves", "scenes"}  # 8x8 has no room for pen strokes
    for kind, found in answers.items():
        rng = rng_for(0, "procedural answers", kind)
        images = torch.cat([KINDS[kind](part, rng) for part in torch.empty((found.samples, 1, 8, 8)).split(BATCH)])
        (logits,) = session.run(["logits"], {"image": 16 * images.numpy()})
        assert found.named == len(np.unique(logits.argmax(1)))
        confidence = torch.from_numpy(logits).softmax(1).amax(1)
        assert found.mean_confidence == pytest.approx(float(confidence.mean()), abs=1e-4)


def test_a_costly_teacher_is_not_asked(digits_teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits_teacher, "cost", replace(digits_teacher.cost, multiply_adds=10**10))
    assert procedural_answers(digits_teacher) == {}


def test_vectors_have_none(tmp_path: Path) -> None:
    export(torch.nn.Linear(7, 3), (7,), tmp_path / "net.onnx", "17", fixed=False)
    assert procedural_answers(load_teacher(tmp_path / "net.onnx", input_range=(0, 1))) == {}


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        *(((7,), ()), ((1, 100), ("level_lines",)), ((1, 8, 16, 16), ("level_lines",))),
        ((3, 8, 16), ("level_lines", "objects", "dead_leaves", "scenes")),
        ((3, 16, 16), ("level_lines", "pen_strokes", "objects", "dead_leaves", "scenes")),
    ],
)
def test_kinds_that_fit_a_shape(shape: tuple[int, ...], kinds: tuple[str, ...]) -> None:
    assert drawable_kinds(shape) == kinds
