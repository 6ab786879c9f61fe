"""Files that nobody vouches for."""

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
from zskd_onnx.importer.file.source import read_source
from zskd_onnx.teacher.load import load_teacher

node = helper.make_node


@pytest.fixture
def linear(save_model: SaveModel) -> Path:
    """y = x w, ready to be spoilt."""
    w = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    return save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5], {"w": w})


def spoil_weights(path: Path, change) -> None:
    model = onnx.load(path)
    change(model.graph.initializer[0])
    onnx.save(model, path)


def refuse(path: Path, match: str) -> None:
    with pytest.raises(UnsupportedTeacherError, match=match) as caught:
        load_teacher(path)
    assert "\n" not in str(caught.value)


def test_the_digest_and_size_are_the_files(linear: Path) -> None:
    import hashlib

    source = read_source(linear)
    assert source.sha256 == hashlib.sha256(linear.read_bytes()).hexdigest()
    assert source.size == linear.stat().st_size
    assert source.opset == 17


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "none.onnx", "no such file"), (tmp_path, "is no regular file")):
        with pytest.raises(UsageError, match=what):
            read_source(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text file\n", b"\x08\x07", b"\x00" * 64, random.Random(0).randbytes(64)]
)
def test_what_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refuse(path, "not an ONNX model")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(exports: Exports, tmp_path: Path, share: float) -> None:
    whole = exports.path("lenet5", "17").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    refuse(path, "ONNX")


def test_bytes_that_do_not_match_the_shape(linear: Path) -> None:
    spoil_weights(linear, lambda w: w.dims.__setitem__(0, 400))
    refuse(linear, "expected 8000")


def test_a_negative_dimension(linear: Path) -> None:
    spoil_weights(linear, lambda w: w.dims.__setitem__(0, -4))
    refuse(linear, "negative dimension")


def test_too_few_values_kept_as_floats(linear: Path) -> None:
    """Weights may lie in float_data instead of raw_data; the same check holds."""

    def change(w: TensorProto) -> None:
        w.ClearField("raw_data")
        w.float_data.extend([1.0] * 3)

    spoil_weights(linear, change)
    refuse(linear, "'w'")


@pytest.mark.parametrize("where", ["initializer", "constant"])
def test_weights_that_are_not_numbers(save_model: SaveModel, where: str) -> None:
    w = np.ones((4, 5), dtype=np.float32)
    w[1, 2] = np.nan
    if where == "initializer":
        path = save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5], {"w": torch.from_numpy(w)})
    else:
        constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(w))
        path = save_model([constant, node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5])
    refuse(path, "NaN")


def test_a_regression_model(save_model: SaveModel) -> None:
    path = save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 1], {"w": torch.ones(4, 1)})
    refuse(path, "regression")


def test_a_segmentation_model(save_model: SaveModel) -> None:
    path = save_model([node("Relu", ["x"], ["y"])], ["N", 3, 8, 8], ["N", 3, 8, 8])
    refuse(path, "not a classifier")


def test_two_inputs(linear: Path) -> None:
    model = onnx.load(linear)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5]))
    model.graph.node[0].output[0] = "m"
    model.graph.node.append(node("Add", ["m", "z"], ["y"]))
    onnx.save(model, linear)
    refuse(linear, "2 inputs.*'x', 'z'")


def test_an_input_that_nothing_reads_is_no_input(linear: Path) -> None:
    """The file still asks for it at run time, so it cannot be fed with one tensor."""
    model = onnx.load(linear)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5]))
    onnx.save(model, linear)
    with pytest.raises(UnsupportedTeacherError):
        load_teacher(linear)


def test_an_opset_from_the_future(linear: Path) -> None:
    model = onnx.load(linear)
    model.opset_import[0].version = 999
    linear.write_bytes(model.SerializeToString())
    refuse(linear, "opset 999 is newer")


def test_a_constant_of_a_trillion_values(save_model: SaveModel) -> None:
    """A few bytes of file must not ask for terabytes of memory."""
    nodes = [
        node("ConstantOfShape", ["n"], ["huge"]),
        node("ReduceSum", ["huge"], ["total"], keepdims=0),
        node("Add", ["x", "total"], ["y"]),
    ]
    path = save_model(nodes, ["N", 4], ["N", 4], {"n": torch.tensor([10**6, 10**6])})
    refuse(path, "elements")


def with_external_data(path: Path, location: str) -> None:
    """Move the first weight's bytes to a file of that name, whatever it points to."""
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


def test_external_data_at_a_strange_offset(linear: Path) -> None:
    with_external_data(linear, "weights.bin")
    model = onnx.load(linear, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="offset", value="-8")
    linear.write_bytes(model.SerializeToString())
    refuse(linear, "too short")


def test_an_external_length_that_does_not_match_the_shape(linear: Path) -> None:
    with_external_data(linear, "weights.bin")
    model = onnx.load(linear, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="length", value="8")
    linear.write_bytes(model.SerializeToString())
    refuse(linear, "'w'")
