"""A transfer set that is made in rounds, against students of the rounds before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import Exports
from zskd_onnx import compress
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.synthesis import TransferSet

SHORT = (
    *("held_out=100", "synthesis.count=200", "synthesis.batch_size=50", "synthesis.iterations=3"),
    *("distillation.epochs=2", "distillation.batch_size=50"),
)
ROUNDS = (*SHORT, "synthesis.competing_rounds=1")


def make(
    exports: Exports, folder: Path, overrides: tuple[str, ...], listener: Listener = silent, **options: bool
) -> torch.Tensor:
    teacher = exports.path("wrn", "17")
    compress(teacher, folder, recipe="deep-inversion", overrides=overrides, listener=listener, **options)
    return TransferSet.open(folder / "transfer-set").load().inputs


def test_later_rounds_compete_with_a_student(exports: Exports, tmp_path: Path) -> None:
    """The first round is that of plain DeepInversion; held-out samples belong to it."""
    plain, competing = (make(exports, tmp_path / str(len(o)), o) for o in (SHORT, ROUNDS))
    assert plain.shape == competing.shape == (300, 3, 16, 16)
    first = 100 + 100
    assert torch.equal(plain[:first], competing[:first])
    assert not torch.equal(plain[first:], competing[first:])


def test_rounds_resume(exports: Exports, tmp_path: Path) -> None:
    """The student between the rounds is found again, and what is made against it."""

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.kind == "progress" and event.total == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(exports, tmp_path / "cut", ROUNDS, interrupt)
    assert TransferSet.open(tmp_path / "cut" / "transfer-set").count == 200
    assert torch.equal(make(exports, tmp_path / "cut", ROUNDS, resume=True), make(exports, tmp_path / "whole", ROUNDS))
