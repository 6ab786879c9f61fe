"""What tests of training share."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.demo import held_out_digits


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    """Real digits stand in for impressions: the loop does not care."""
    x, _ = held_out_digits()
    return torch.from_numpy(x / 16).half().contiguous(memory_format=torch.channels_last)
