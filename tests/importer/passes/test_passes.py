"""Each pass on a graph that is small enough to read."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from tests.conftest import Exports, SaveModel
from zskd_onnx import ParityError, UnsupportedTeacherError
from zskd_onnx.importer.passes import clean, drop_dangling, fold_constants
from zskd_onnx.teacher.load import load_teacher

node = helper.make_node


def op_types(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


def test_constants_are_folded(save_model: SaveModel) -> None:
    w = torch.arange(6.0).reshape(2, 3)
    nodes = [
        node("Transpose", ["w"], ["t"]),
        node("Cast", ["t"], ["d"], to=TensorProto.DOUBLE),
        node("Cast", ["d"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "two"], ["m"]),
        node("Gemm", ["x", "m"], ["y"]),
    ]
    model = ir.load(save_model(nodes, ["N", 3], ["N", 2], {"w": w, "two": torch.tensor(2.0)}))
    fold_constants(model)
    assert op_types(model) == ["Gemm"]
    folded = next(iter(model.graph)).inputs[1]
    assert folded is not None
    assert folded.const_value is not None
    np.testing.assert_array_equal(folded.const_value.numpy(), 2 * w.T.numpy())


def test_folding_has_a_limit(save_model: SaveModel) -> None:
    nodes = [node("ConstantOfShape", ["n"], ["c"]), node("Add", ["x", "c"], ["y"])]
    model = ir.load(save_model(nodes, ["N", 4], ["N", 4], {"n": torch.tensor([10**12])}))
    with pytest.raises(UnsupportedTeacherError, match="elements"):
        fold_constants(model)


def test_unused_nodes_weights_and_inputs_are_removed(save_model: SaveModel) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Add", ["x", "unused"], ["z"])]
    model = ir.load(save_model(nodes, ["N", 3], ["N", 3], {"unused": torch.ones(3)}))
    drop_dangling(model)
    assert op_types(model) == ["Relu"]
    assert not model.graph.initializers
    assert [v.name for v in model.graph.inputs] == ["x"]


def test_weights_declared_as_inputs_are_not_inputs(save_model: SaveModel) -> None:
    path = save_model([node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 5], {"w": torch.randn(4, 5)})
    proto = onnx.load(path)
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 5]))
    onnx.save(proto, path)
    assert load_teacher(path).classes == 5


def test_model_local_functions_are_inlined(save_model: SaveModel) -> None:
    path = save_model([node("Twice", ["x"], ["y"], domain="local")], ["N", 4], ["N", 4])
    proto = onnx.load(path)
    proto.functions.append(
        helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], proto.opset_import)
    )
    proto.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(proto, path)
    teacher = load_teacher(path)
    x = torch.rand(2, 4)
    torch.testing.assert_close(teacher(x), 2 * x)


@pytest.mark.parametrize("shape", [[1, -1], [1, 12]])
def test_reshape_to_a_fixed_batch_size_is_freed(save_model: SaveModel, shape: list[int]) -> None:
    nodes = [node("Relu", ["x"], ["r"]), node("Reshape", ["r", "s"], ["y"])]
    path = save_model(nodes, [1, 3, 2, 2], [1, 12], {"s": torch.tensor(shape)})
    teacher = load_teacher(path)
    x = torch.rand(5, 3, 2, 2) - 0.5
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"x": part[None].numpy()})[0] for part in x])
    np.testing.assert_array_equal(teacher(x).numpy(), expected)


def test_reshape_of_a_weight_keeps_a_leading_one(save_model: SaveModel) -> None:
    """A 1 in front is the batch size only if the batch is at that position."""
    nodes = [node("Reshape", ["b", "s"], ["bias"]), node("Add", ["x", "bias"], ["y"])]
    path = save_model(nodes, [1, 4], [1, 4], {"b": torch.arange(4.0), "s": torch.tensor([1, 4])})
    x = torch.rand(3, 4)
    torch.testing.assert_close(load_teacher(path)(x), x + torch.arange(4.0))


def test_batch_size_in_a_constant_is_refused(save_model: SaveModel) -> None:
    """A Reshape over the batch mixes samples; the result must be an error or right."""
    nodes = [
        node("Reshape", ["x", "s"], ["r"]),
        node("Softmax", ["r"], ["p"], axis=0),
        node("Reshape", ["p", "t"], ["y"]),
    ]
    weights = {"s": torch.tensor([4, 1]), "t": torch.tensor([1, 4])}
    path = save_model(nodes, [1, 4], [1, 4], weights)
    with pytest.raises((UnsupportedTeacherError, ParityError)):
        load_teacher(path)


def test_clean_keeps_the_values(exports: Exports) -> None:
    """All passes together, with onnxruntime before and after."""
    path = exports.path("resnet", "17")
    model = ir.load(path)
    clean(model)
    x = np.random.default_rng(0).random((3, 3, 16, 16), dtype=np.float32)
    before, after = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
        for content in (path.read_bytes(), ir.to_proto(model).SerializeToString())
    )
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
