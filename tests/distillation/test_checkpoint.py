"""The state of training on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zskd_onnx import UsageError
from zskd_onnx.distillation.checkpoint import Checkpoint

CPU = torch.device("cpu")


def test_a_state_is_read_by_the_same_training_only(tmp_path: Path) -> None:
    written = Checkpoint(tmp_path / "checkpoint.pt", "a")
    assert written.load(CPU) is None
    written.save("distillation", {"step": 3, "weights": torch.arange(5)})
    state = written.load(CPU)
    assert state is not None
    assert (state["stage"], state["step"], state["weights"].tolist()) == ("distillation", 3, [0, 1, 2, 3, 4])
    assert Checkpoint(tmp_path / "checkpoint.pt", "b").load(CPU) is None


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "a")
    checkpoint.save("distillation", {"weights": torch.zeros(1000)})
    content = bytearray(checkpoint.path.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.path.write_bytes(content)
    with pytest.raises(UsageError, match=r"checkpoint\.pt: damaged checkpoint .*checksum.*remove it"):
        checkpoint.load(CPU)
