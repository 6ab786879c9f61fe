"""Reading damaged files, and files that are not classifiers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.conftest import Exports, SaveModel
from zskd_onnx import UnsupportedTeacherError, UsageError
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.teacher.load import load_teacher

node = helper.make_node


@pytest.fixture
def linear(save_model: SaveModel) -> Path:
    """y = x w, a valid file that the tests damage."""
    w = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    return save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5], {"w": w})


def change_weight(path: Path, change) -> None:
    model = onnx.load(path)
    change(model.graph.initializer[0])
    onnx.save(model, path)


def refuse(path: Path, match: str) -> None:
    with pytest.raises(UnsupportedTeacherError, match=match) as caught:
        load_teacher(path)
    assert "\n" not in str(caught.value)


def test_digest_size_and_opset(linear: Path) -> None:
    import hashlib

    source = read_onnx_file(linear)
    assert source.sha256 == hashlib.sha256(linear.read_bytes()).hexdigest()
    assert source.size == linear.stat().st_size
    assert source.opset == 17


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.onnx", "no such file"), (tmp_path, "not a regular file")):
        with pytest.raises(UsageError, match=message):
            read_onnx_file(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text file\n", b"\x08\x07", b"\x00" * 64, random.Random(0).randbytes(64)]
)
def test_files_that_are_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refuse(path, "not an ONNX model")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file(exports: Exports, tmp_path: Path, share: float) -> None:
    whole = exports.path("lenet5", "17").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    refuse(path, "ONNX")


def test_data_that_does_not_match_the_shape(linear: Path) -> None:
    change_weight(linear, lambda w: w.dims.__setitem__(0, 400))
    refuse(linear, "expected 8000")


def test_negative_dimension(linear: Path) -> None:
    change_weight(linear, lambda w: w.dims.__setitem__(0, -4))
    refuse(linear, "negative dimension")


def test_too_few_values_in_float_data(linear: Path) -> None:
    """Weights may be in float_data instead of raw_data; the same check applies."""

    def change(w: TensorProto) -> None:
        w.ClearField("raw_data")
        w.float_data.extend([1.0] * 3)

    change_weight(linear, change)
    refuse(linear, "'w'")


@pytest.mark.parametrize("where", ["initializer", "constant"])
def test_weights_with_nan(save_model: SaveModel, where: str) -> None:
    w = np.ones((4, 5), dtype=np.float32)
    w[1, 2] = np.nan
    if where == "initializer":
        path = save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5], {"w": torch.from_numpy(w)})
    else:
        constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(w))
        path = save_model([constant, node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5])
    refuse(path, "NaN")


def test_regression_model(save_model: SaveModel) -> None:
    path = save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 1], {"w": torch.ones(4, 1)})
    refuse(path, "regression")


def test_segmentation_model(save_model: SaveModel) -> None:
    path = save_model([node("Relu", ["x"], ["y"])], ["N", 3, 8, 8], ["N", 3, 8, 8])
    refuse(path, "not a classifier")


def test_two_inputs(linear: Path) -> None:
    model = onnx.load(linear)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5]))
    model.graph.node[0].output[0] = "m"
    model.graph.node.append(node("Add", ["m", "z"], ["y"]))
    onnx.save(model, linear)
    refuse(linear, "2 inputs.*'x', 'z'")


def test_unused_second_input_is_dropped(linear: Path) -> None:
    """Also one that is read only by a node that no output needs."""
    model = onnx.load(linear)
    for name in ("z", "label"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 5]))
    model.graph.node.append(node("Relu", ["label"], ["nothing"]))
    onnx.save(model, linear)
    teacher = load_teacher(linear)
    assert teacher.domain.name == "x"
    assert [value.name for value in teacher.source.proto.graph.input] == ["x"]


def test_opset_newer_than_onnx(linear: Path) -> None:
    model = onnx.load(linear)
    model.opset_import[0].version = 999
    linear.write_bytes(model.SerializeToString())
    refuse(linear, "opset 999 is newer")


def test_constant_of_a_trillion_values(save_model: SaveModel) -> None:
    """A few bytes of file must not need terabytes of memory."""
    nodes = [
        node("ConstantOfShape", ["n"], ["huge"]),
        node("ReduceSum", ["huge"], ["total"], keepdims=0),
        node("Add", ["x", "total"], ["y"]),
    ]
    path = save_model(nodes, ["N", 4], ["N", 4], {"n": torch.tensor([10**6, 10**6])})
    refuse(path, "elements")


def with_external_data(path: Path, location: str) -> None:
    """Move the data of the first weight to an external file, which may be a link."""
    model = onnx.load(path)
    w = model.graph.initializer[0]
    data = path.parent / location
    if not data.exists():
        data.write_bytes(w.raw_data)
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    w.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())


def test_external_data_beside_the_model(linear: Path) -> None:
    x = torch.rand(2, 4)
    before = load_teacher(linear)(x)
    with_external_data(linear, "weights.bin")
    teacher = load_teacher(linear)
    torch.testing.assert_close(teacher(x), before, rtol=0, atol=0)
    assert teacher.source.size == linear.stat().st_size + 80


@pytest.mark.parametrize("how", ["dots", "absolute", "symlink"])
def test_external_data_outside_the_folder_is_refused(linear: Path, tmp_path: Path, how: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = linear.rename(inner / "model.onnx")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 80)
    location = {"dots": "../secret.bin", "absolute": str(secret), "symlink": "weights.bin"}[how]
    if how == "symlink":
        (inner / "weights.bin").symlink_to(secret)
    with_external_data(path, location)
    refuse(path, "outside the model's folder")


def test_external_data_that_is_missing_or_short(linear: Path) -> None:
    with_external_data(linear, "weights.bin")
    data = linear.parent / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])
    refuse(linear, "too short")
    data.unlink()
    refuse(linear, "not in the model's folder")


def test_external_data_at_a_negative_offset(linear: Path) -> None:
    with_external_data(linear, "weights.bin")
    model = onnx.load(linear, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="offset", value="-8")
    linear.write_bytes(model.SerializeToString())
    refuse(linear, "too short")


def test_external_length_that_does_not_match_the_shape(linear: Path) -> None:
    with_external_data(linear, "weights.bin")
    model = onnx.load(linear, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="length", value="8")
    linear.write_bytes(model.SerializeToString())
    refuse(linear, "'w'")
