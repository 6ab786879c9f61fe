"""Blocks of a thinned student beside those of its teacher."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from tests.students.thinning.graphs import graph_of
from zskd_onnx import load_teacher
from zskd_onnx.losses import block_loss
from zskd_onnx.students.matched_blocks import BlockProbe, BlockRecorder
from zskd_onnx.students.thinned_student import ThinnedTeacher, thinned_teacher
from zskd_onnx.students.thinning.thin import teacher_groups
from zskd_onnx.students.thinning.widths import scaled_widths

RESIDUAL = """
    a = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)  b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, w1)  d = Add (c, b)  e = Relu (d)
    p = GlobalAveragePool (e)  f = Flatten (p)  y = Gemm <transB = 1> (f, wy, by)
"""
WEIGHTS = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "wy": (4, 8), "by": (4,)}


def test_blocks_are_residual_sums_cut_to_the_channels_that_remain(tmp_path: Path) -> None:
    onnx.save(graph_of(RESIDUAL, WEIGHTS), tmp_path / "teacher.onnx")
    teacher = load_teacher(tmp_path / "teacher.onnx", input_range=(0, 1))
    student, remaining = thinned_teacher("thin:0.5", teacher).build()
    probe = BlockProbe(teacher, remaining)
    recorder = BlockRecorder(student, probe.values, torch.zeros(1, 3, 6, 6))
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))

    logits, blocks = probe(teacher.domain.to_file(x))
    outputs = recorder(x)

    assert probe.values == ["e"]
    axis, indices = remaining["e"]
    assert axis == 1
    whole = teacher_values(tmp_path / "teacher.onnx", "e", x)
    assert torch.allclose(blocks[0], whole[:, indices], atol=1e-5)
    assert torch.allclose(logits, teacher.logits(teacher.domain.to_file(x)), atol=1e-5)
    assert torch.allclose(outputs.logits, student(x), atol=1e-5)
    assert outputs.blocks[0].shape == blocks[0].shape


def test_a_student_with_all_channels_has_no_block_loss(tmp_path: Path) -> None:
    onnx.save(graph_of(RESIDUAL, WEIGHTS), tmp_path / "teacher.onnx")
    teacher = load_teacher(tmp_path / "teacher.onnx", input_range=(0, 1))
    groups = teacher_groups(teacher)
    student, remaining = ThinnedTeacher(teacher, groups, scaled_widths(groups.groups, 1.0)).build()
    probe = BlockProbe(teacher, remaining)
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = BlockRecorder(student, probe.values, x[:1])(x)
        _, blocks = probe(teacher.domain.to_file(x))

    assert float(block_loss(outputs.blocks, blocks)) < 1e-10


def teacher_values(path: Path, name: str, x: torch.Tensor) -> torch.Tensor:
    """A value of a file, from onnxruntime."""
    from zskd_onnx.students.thinning.observed_graph import run_all

    return torch.from_numpy(run_all(onnx.load(path), {"x": x.numpy()})[name])
