"""Several inputs, all but one given as constants; batches that no rewriting frees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import SMALL, Cli, SaveModel
from zskd_onnx import UnsupportedTeacherError, UsageError, compress, load_teacher

W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
node = helper.make_node
info = helper.make_tensor_value_info


@pytest.fixture
def three_inputs(tmp_path: Path) -> Path:
    """logits = (x * mask) W / temperature."""
    nodes = [
        node("Mul", ["x", "mask"], ["masked"]),
        node("Gemm", ["masked", "w"], ["z"], transB=1),
        node("Div", ["z", "temperature"], ["y"]),
    ]
    inputs = [
        info("mask", TensorProto.FLOAT, ["N", 4]),
        info("x", TensorProto.FLOAT, ["N", 4]),
        info("temperature", TensorProto.FLOAT, [1]),
    ]
    weights = [numpy_helper.from_array(W.numpy(), "w")]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", TensorProto.FLOAT, ["N", 3])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "three.onnx"
    onnx.save(model, path)
    return path


def test_constants_for_all_inputs_but_one(three_inputs: Path) -> None:
    mask = [1.0, 0.0, 2.0, 1.0]
    teacher = load_teacher(three_inputs, fix={"mask": mask, "temperature": 2})
    x = torch.randn(5, 4)
    torch.testing.assert_close(teacher.logits(x), (x * torch.tensor(mask)) @ W.T / 2)
    assert teacher.domain.name == "x"
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, W / 2)


def test_a_constant_from_a_file(three_inputs: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.ones(4))
    teacher = load_teacher(three_inputs, fix={"mask": tmp_path / "mask.npy", "temperature": np.array([4.0])})
    x = torch.randn(2, 4)
    torch.testing.assert_close(teacher.logits(x), x @ W.T / 4)


def test_at_the_terminal(cli: Cli, three_inputs: Path) -> None:
    done = cli("inspect", three_inputs)
    assert (done.returncode, "--fix" in done.stderr) == (3, True)
    assert cli("inspect", three_inputs, "--fix", "mask=1,1,1,1", "--fix", "temperature=1").returncode == 0
    done = cli("compress", three_inputs, "--fix", "mask=1", "--fix", "temperature=1", *options(SMALL))
    assert done.returncode == 0, done.stderr
    done = cli("verify", "zskd-out", "--teacher", three_inputs, "--fix", "mask=1", "--fix", "temperature=1")
    assert done.returncode == 0, done.stderr


def test_another_constant_makes_another_transfer_set(three_inputs: Path, tmp_path: Path) -> None:
    result = compress(three_inputs, tmp_path / "a", overrides=SMALL, fix={"mask": 1, "temperature": 1})
    made = result.student.parent / "transfer-set"
    again = compress(
        three_inputs, tmp_path / "b", overrides=SMALL, fix={"mask": 1, "temperature": 1}, transfer_set=made
    )
    assert again.student.read_bytes() == result.student.read_bytes()
    with pytest.raises(UsageError, match="another constant of --fix"):
        compress(three_inputs, tmp_path / "c", overrides=SMALL, fix={"mask": 2, "temperature": 1}, transfer_set=made)


def options(overrides: tuple[str, ...]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


@pytest.mark.parametrize(
    ("fix", "error", "words"),
    [
        ({"mask": 1}, UnsupportedTeacherError, "2 inputs remain"),
        ({"mask": 1, "x": 1, "temperature": 1}, UnsupportedTeacherError, "0 inputs remain"),
        ({"mask": 1, "heat": 1}, UsageError, "'temperature'"),
        ({"mask": [1, 2, 3], "temperature": 1}, UsageError, "do not fit"),
        ({"mask": 1, "temperature": ["warm"]}, UsageError, "expected numbers"),
        ({"mask": 1, "temperature": float("nan")}, UsageError, "no NaN"),
        ({"mask": 0, "temperature": 0}, UnsupportedTeacherError, "answers NaN or infinity"),
        ({"mask": 1, "temperature": 0}, UnsupportedTeacherError, "answers NaN or infinity"),
        ({"mask": Path("n" * 300 + ".npy"), "temperature": 1}, UsageError, "no such file"),
        ({"mask": Path("none.npy"), "temperature": 1}, UsageError, "none.npy"),
    ],
)
def test_constants_that_do_not_fit(three_inputs: Path, fix: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_teacher(three_inputs, fix=fix)


@pytest.fixture
def bound(save_model: SaveModel) -> Path:
    """A graph that adds a constant made for a batch of two: nothing can free it."""
    nodes = [node("Add", ["x", "c"], ["h"]), node("Gemm", ["h", "w"], ["y"], transB=1)]
    return save_model(nodes, [2, 4], [2, 3], {"c": torch.ones(2, 1) * torch.arange(4.0), "w": W})


def test_a_batch_that_cannot_be_freed(bound: Path) -> None:
    teacher = load_teacher(bound)
    assert teacher.batch == 2
    x = torch.randn(5, 4, requires_grad=True)
    logits = teacher.logits(x)
    torch.testing.assert_close(logits, (x + torch.arange(4.0)) @ W.T)
    assert teacher.features(x).shape == (5, 4)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    torch.testing.assert_close(gradient, W.sum(0).expand(5, 4))


def test_synthesis_at_the_batch_of_the_file(bound: Path, tmp_path: Path) -> None:
    result = compress(bound, tmp_path / "out", overrides=SMALL)
    assert any("batch size 2" in note for note in result.notes)
