"""Files with several inputs, of which all but one are constants, and files with a fixed batch size."""

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


def test_constants_for_all_but_one_input(three_inputs: Path) -> None:
    mask = [1.0, 0.0, 2.0, 1.0]
    teacher = load_teacher(three_inputs, fix={"mask": mask, "temperature": 2})
    x = torch.randn(5, 4)
    torch.testing.assert_close(teacher.logits(x), (x * torch.tensor(mask)) @ W.T / 2)
    assert teacher.domain.name == "x"
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, W / 2)


@pytest.mark.parametrize("mask", [[1.0, 0.0, 2.0, 1.0], [[1.0, 0.0, 2.0, 1.0]]], ids=["sample", "batch of 1"])
def test_a_constant_with_or_without_its_batch(three_inputs: Path, mask: list) -> None:
    teacher = load_teacher(three_inputs, fix={"mask": np.array(mask), "temperature": 2})
    x = torch.randn(5, 4)
    torch.testing.assert_close(teacher.logits(x), (x * torch.tensor([1.0, 0.0, 2.0, 1.0])) @ W.T / 2)


@pytest.mark.parametrize("unused", [{}, {"label": 3}])
def test_an_unused_input_needs_no_constant(three_inputs: Path, unused: dict) -> None:
    model = onnx.load(three_inputs)
    model.graph.input.append(info("label", TensorProto.INT64, ["N"]))
    onnx.save(model, three_inputs)
    teacher = load_teacher(three_inputs, fix={"mask": 1, "temperature": 2, **unused})
    x = torch.randn(2, 4)
    torch.testing.assert_close(teacher.logits(x), x @ W.T / 2)
    assert set(teacher.source.fixed) == {"mask", "temperature"}


def test_a_constant_from_a_file(three_inputs: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.ones(4))
    teacher = load_teacher(three_inputs, fix={"mask": tmp_path / "mask.npy", "temperature": np.array([4.0])})
    x = torch.randn(2, 4)
    torch.testing.assert_close(teacher.logits(x), x @ W.T / 4)


def test_command_line(run: Cli, three_inputs: Path) -> None:
    done = run("inspect", three_inputs)
    assert (done.returncode, "--fix" in done.stderr) == (3, True)
    assert run("inspect", three_inputs, "--fix", "mask=1,1,1,1", "--fix", "temperature=1").returncode == 0
    fixed = ("--fix", "mask=1", "--fix", "temperature=1")
    done = run("compress", three_inputs, *fixed, *options(SMALL), "--student", "mlp-small")
    assert done.returncode == 0, done.stderr
    done = run("verify", "zskd-out", "--teacher", three_inputs, "--fix", "mask=1", "--fix", "temperature=1")
    assert done.returncode == 0, done.stderr


def test_transfer_set_of_another_constant_is_refused(three_inputs: Path, tmp_path: Path) -> None:
    settings = {"overrides": SMALL, "student": "mlp-small"}
    result = compress(three_inputs, tmp_path / "a", fix={"mask": 1, "temperature": 1}, **settings)
    transfer_set = result.student.parent / "transfer-set"
    again = compress(
        three_inputs, tmp_path / "b", fix={"mask": 1, "temperature": 1}, transfer_set=transfer_set, **settings
    )
    assert again.student.read_bytes() == result.student.read_bytes()
    with pytest.raises(UsageError, match="another constant of --fix"):
        compress(three_inputs, tmp_path / "c", fix={"mask": 2, "temperature": 1}, transfer_set=transfer_set, **settings)


def options(overrides: tuple[str, ...]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


@pytest.mark.parametrize(
    ("fix", "error", "words"),
    [
        ({"mask": 1}, UnsupportedTeacherError, "2 inputs remain .* expected one"),
        ({"mask": 1, "x": 1, "temperature": 1}, UnsupportedTeacherError, "0 inputs remain"),
        ({"mask": 1, "heat": 1}, UsageError, "--fix heat: no such input; .*'temperature'"),
        ({"mask": [1, 2, 3], "temperature": 1}, UsageError, r"shape \[3\] do not fit, expected \[4\]"),
        ({"mask": np.ones((2, 4)), "temperature": 1}, UsageError, r"shape \[2, 4\] do not fit, expected \[4\]"),
        ({"mask": 1, "temperature": ["warm"]}, UsageError, "expected numbers"),
        ({"mask": 1, "temperature": float("nan")}, UsageError, "no NaN"),
        ({"mask": 0, "temperature": 0}, UnsupportedTeacherError, "gives NaN or infinity"),
        ({"mask": 1, "temperature": 0}, UnsupportedTeacherError, "gives NaN or infinity"),
        ({"mask": Path("n" * 300 + ".npy"), "temperature": 1}, UsageError, "no such file"),
        ({"mask": Path("none.npy"), "temperature": 1}, UsageError, "none.npy"),
    ],
)
def test_invalid_constants_are_refused(three_inputs: Path, fix: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_teacher(three_inputs, fix=fix)


@pytest.fixture
def fixed_batch(save_model: SaveModel) -> Path:
    """A graph that adds a constant for a batch of two, which no rewriting makes variable."""
    nodes = [node("Add", ["x", "c"], ["h"]), node("Gemm", ["h", "w"], ["y"], transB=1)]
    return save_model(nodes, [2, 4], [2, 3], {"c": torch.ones(2, 1) * torch.arange(4.0), "w": W})


def test_fixed_batch_size_is_kept_if_necessary(fixed_batch: Path) -> None:
    teacher = load_teacher(fixed_batch)
    assert teacher.batch == 2
    x = torch.randn(5, 4, requires_grad=True)
    logits = teacher.logits(x)
    torch.testing.assert_close(logits, (x + torch.arange(4.0)) @ W.T)
    assert teacher.features(x).shape == (5, 4)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    torch.testing.assert_close(gradient, W.sum(0).expand(5, 4))


def test_compress_with_a_fixed_batch_size(fixed_batch: Path, tmp_path: Path) -> None:
    result = compress(fixed_batch, tmp_path / "out", overrides=SMALL, student="mlp-small")
    assert any("batch size 2" in note for note in result.notes)
