"""Rows of a tensor, as those on disk are used."""

from __future__ import annotations

import torch

from zskd_onnx.system.rows import CPU, in_memory, parts


def test_a_tensor_is_not_copied() -> None:
    x = torch.rand(10, 3)
    assert in_memory(x) is x
    assert in_memory(x, CPU) is x
    assert [part.data_ptr() for part in parts(x, 4)] == [x[first:].data_ptr() for first in (0, 4, 8)]


def test_parts_are_those_of_split() -> None:
    x = torch.rand(10, 3)
    for size in (1, 4, 5, 10, 11):
        for part, expected in zip(parts(x, size), x.split(size), strict=True):
            assert torch.equal(part, expected)
