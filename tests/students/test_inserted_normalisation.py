"""Batch normalisation that is inserted for training and folded away again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.students.thinning.graphs import graph_of
from zskd_onnx import load_teacher
from zskd_onnx.students.inserted_normalisation import fold_normalisation, insert_normalisation
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.system.onnx_runtime import open_session

TEXT = """
    a = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)  b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1], group = 8> (b, w1, b1)  d = Add (c, b)
    e = Conv (d, w2)  p = GlobalAveragePool (e)  f = Flatten (p)  y = Gemm <transB = 1> (f, wy, by)
"""
WEIGHTS = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 1, 3, 3), "b1": (8,), "w2": (6, 8, 1, 1), "wy": (4, 6), "by": (4,)}


@pytest.fixture
def student(tmp_path: Path) -> OnnxStudent:
    model = graph_of(TEXT, WEIGHTS)
    onnx.save(model, tmp_path / "teacher.onnx")
    return OnnxStudent(model, load_teacher(tmp_path / "teacher.onnx", input_range=(0, 1)))


def test_convolutions_with_a_bias_are_normalised_and_the_function_stays(student: OnnxStudent) -> None:
    x = torch.rand(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    before = student(x).detach()

    assert insert_normalisation(student, [x]) == 2  # the third has no bias to take the shift
    assert torch.allclose(student(x), before, atol=1e-4)
    student.train()
    assert torch.allclose(student(x), before, atol=1e-3)  # the batch has the statistics that were measured


def test_after_training_the_file_computes_what_the_student_computes(student: OnnxStudent) -> None:
    x = torch.rand(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    insert_normalisation(student, [x])
    optimiser = torch.optim.SGD(student.parameters(), 0.01)
    student.train()
    for _ in range(3):
        optimiser.zero_grad()
        student(x).square().mean().backward()
        optimiser.step()
    student.eval()
    trained = student(x).detach()

    fold_normalisation(student)

    assert not any("normalisation" in name for name in student.state_dict())
    assert torch.allclose(student(x), trained, atol=1e-4)
    (values,) = open_session(student.to_file().SerializeToString()).run(None, {"x": x.numpy()})
    assert np.allclose(values, trained.numpy(), atol=1e-4)
