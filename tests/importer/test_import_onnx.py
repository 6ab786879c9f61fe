"""Any file as a torch module, frozen or trainable, against onnxruntime and torch's own layers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor, fx, nn

from tests.conftest import Exports, SaveModel
from tests.importer.nets import NETS, TOLERANCE, convolution, perceptron, random, shared
from zskd_onnx import UnsupportedTeacherError, UsageError, import_onnx
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.importer.fx_graph import ImportedModel
from zskd_onnx.importer.passes import clean
from zskd_onnx.importer.translate import import_graph
from zskd_onnx.teacher.graphs import select_output

node = helper.make_node


def save(save_model: SaveModel, name: str) -> tuple[Path, Tensor]:
    """A file of a net, and a batch for it."""
    nodes, sample, tensors = NETS[name]()
    path = save_model(nodes, ["N", *sample], ["N", 4 if name == "shared" else 3], tensors)
    return path, random(7, *sample)


def run_file(path: Path, x: Tensor) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_values_are_those_of_onnxruntime(save_model: SaveModel, name: str, trainable: bool) -> None:
    path, x = save(save_model, name)
    module = import_onnx(path, trainable)
    assert not module.training
    (y,) = module(x)
    assert y.requires_grad is trainable
    np.testing.assert_allclose(y.detach().numpy(), run_file(path, x), atol=TOLERANCE.get(name, 1e-5))


WEIGHTS = {
    "perceptron": {"w1", "b1", "slope", "w2", "b2"},
    "recurrent": {"W", "R", "B", "fc"},
    "attention": {"embed", "cls", "positions", "qkv", "qkv_bias", "gamma", "norm", "norm_bias", "fc"},
    "half_precision": {"c", "s", "b", "w", "bias"},
    "brain_floats": {"stored", "w", "b"},
    "behind_casts": {"w", "s", "b"},
    "channels_last": {"kernel", "bias", "dense"},
    "shared": {"w"},
    "behind_nodes": {"a", "a.b", "lambda", 'q"\\', "last", "listed", "graph"},
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_parameters_and_other_constants_are_not(save_model: SaveModel, name: str) -> None:
    path, x = save(save_model, name)
    module = import_onnx(path, trainable=True)
    assert {module.initializers[key] for key, _ in module.named_parameters()} == WEIGHTS[name]
    assert module.state_dict().keys() == module.initializers.keys()
    module.train()
    module(x)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert all(p.dtype in (torch.float32, torch.float64) for p in module.parameters())


def test_names_that_are_no_path_are_replaced(save_model: SaveModel) -> None:
    path, _ = save(save_model, "behind_nodes")
    names = {name: key for key, name in import_onnx(path, trainable=True).initializers.items()}
    assert names["a"] == "a"
    assert names["a.b"] == "a_b"
    assert all(names[name].isidentifier() for name in ("lambda", 'q"\\', "graph"))
    assert len(set(names.values())) == len(names)


def test_a_weight_that_two_layers_read_is_one_parameter(save_model: SaveModel) -> None:
    path, x = save(save_model, "shared")
    module = import_onnx(path, trainable=True)
    w = shared()[2]["w"].clone().requires_grad_()
    expected = torch.tanh(x @ w) @ w.T
    expected.square().sum().backward()
    (y,) = module(x)
    y.square().sum().backward()
    (parameter,) = module.parameters()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(parameter.grad, w.grad)


LINEAR = {"coefficients": [1.0] * 9, "intercepts": [0.0] * 3, "classlabels_ints": [0, 1, 2]}
"""Attributes of a scikit-learn model."""


class Net(nn.Module):
    """``nets.convolution`` in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4, eps=1e-4, momentum=0.2)
        self.scale = nn.Conv2d(4, 4, 1, groups=4, bias=False)
        self.conv2, self.fc = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        r = F.relu(self.bn1(self.conv1(x)))
        h = F.max_pool2d(self.scale(r), 2) + F.max_pool2d(self.conv2(r), 2)
        return self.fc(h.mean((2, 3)))


def steps(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs in two training steps, and after them in evaluation mode."""
    module.train()
    optimizer, outputs = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9), []
    for _ in range(2):
        y = module(x)
        y = y[0] if isinstance(y, tuple) else y
        optimizer.zero_grad()
        F.cross_entropy(y, torch.arange(len(x)) % 3).backward()
        optimizer.step()
        outputs.append(y.detach())
    y = module.eval()(x)
    return [*outputs, (y[0] if isinstance(y, tuple) else y).detach()]


@pytest.mark.parametrize("copied", [False, True])
def test_training_equals_that_of_the_same_net_in_torch(save_model: SaveModel, copied: bool) -> None:
    """Gradients, BatchNormalization in training mode and its running statistics, also of a copied part."""
    path, x = save(save_model, "convolution")
    module = import_onnx(path, trainable=True)
    module = copy.deepcopy(select_output(module, 0)) if copied else module
    assert module.state_dict().keys() == module.initializers.keys()
    expected = Net()
    expected.load_state_dict(module.state_dict(), strict=False)
    assert [k for k in expected.state_dict() if k not in module.state_dict()] == ["bn1.num_batches_tracked"]
    assert {k for k, _ in module.named_parameters()} == {k for k, _ in expected.named_parameters()}
    for own, other in zip(steps(module, x), steps(expected, x), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    for key, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[key], rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_input_and_convolutions_in_blocks(save_model: SaveModel) -> None:
    """With a gradient in the input, CPUs compute some convolutions in another way."""
    path, x = save(save_model, "convolution")
    module, expected = import_onnx(path, trainable=True), Net().eval()
    expected.load_state_dict(module.state_dict(), strict=False)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for net, images in zip((module, expected), inputs, strict=True):
        y = net(images)
        (y[0] if isinstance(y, tuple) else y).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-5)
    for key, parameter in expected.named_parameters():
        torch.testing.assert_close(module.get_parameter(key).grad, parameter.grad, rtol=1e-4, atol=1e-5)


def test_running_statistics_change_in_training_mode_alone(save_model: SaveModel) -> None:
    path, x = save(save_model, "convolution")
    module = import_onnx(path, trainable=True)
    before = module.get_buffer("bn1.running_mean").clone()
    module(x)
    torch.testing.assert_close(module.get_buffer("bn1.running_mean"), before, rtol=0, atol=0)
    module.train()(x)
    c1 = F.conv2d(x, module.get_parameter("conv1.weight"), module.get_parameter("conv1.bias"), padding=1)
    expected = 0.8 * before + 0.2 * c1.mean((0, 2, 3)).detach()
    torch.testing.assert_close(module.get_buffer("bn1.running_mean"), expected)


def test_a_model_can_be_imported_twice(save_model: SaveModel) -> None:
    """``load_classifier`` does so where a file cannot be freed from its batch size."""
    path, x = save(save_model, "behind_casts")
    model = read_onnx_file(path).model
    clean(model, trainable=True)
    first, second = (import_graph(model, trainable=True) for _ in range(2))
    assert first.initializers == second.initializers == {name: name for name in ("w", "s", "b", "m", "v")}
    for module in (first, second):
        before = module.get_buffer("m").clone()
        module.train()(x)
        torch.testing.assert_close(
            module.get_buffer("m"), 0.9 * before + 0.1 * (x @ module.get_parameter("w")).mean(0).detach()
        )


def test_keys_of_an_export_are_those_of_the_module(exports: Exports) -> None:
    network = exports.network("alexnet").module
    module = import_onnx(exports.path("alexnet", "17"), trainable=True)
    expected = {f"0.{key}" for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    assert module.state_dict().keys() == expected
    assert {k for k, _ in module.named_parameters()} == {f"0.{key}" for key, _ in network.named_parameters()}


@pytest.mark.parametrize("trainable", [False, True])
def test_nodes_have_the_names_of_their_values(save_model: SaveModel, trainable: bool) -> None:
    path, x = save(save_model, "attention")
    module = import_onnx(path, trainable)
    proto = onnx.load(path)
    wanted = ["h", "q", "k", "v", "n"]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    onnx.save(proto, path)
    references = dict(zip(["y", *wanted], _all_outputs(path, x), strict=True))
    values = Values(module)
    values.run(x)
    for name in wanted:
        np.testing.assert_allclose(values.named[name].detach().numpy(), references[name], atol=1e-5)


def _all_outputs(path: Path, x: Tensor) -> list[np.ndarray]:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})


class Values(fx.Interpreter):
    """Stores the tensors of a graph by the names of their ONNX values."""

    def __init__(self, module: ImportedModel) -> None:
        super().__init__(module)
        self.named: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if "value" in n.meta:
            self.named[n.meta["value"]] = result
        return result


def test_fixed_inputs_are_no_weights(save_model: SaveModel) -> None:
    nodes, sample, tensors = perceptron()
    nodes[-1] = node("Mul", ["a2", "prior"], ["y"])
    path = save_model(nodes, ["N", *sample], ["N", 3], tensors)
    proto = onnx.load(path)
    proto.graph.input.append(helper.make_tensor_value_info("prior", TensorProto.FLOAT, [3]))
    onnx.save(proto, path)
    module = import_onnx(path, trainable=True, fix={"prior": [1.0, 2.0, 3.0]})
    assert set(module.initializers.values()) == WEIGHTS["perceptron"]
    assert len(import_onnx(path)(random(2, 6), torch.ones(3))) == 1


def test_outputs_that_are_no_floats_are_left_out(save_model: SaveModel) -> None:
    """A label, a ZipMap, and an output of an operator that is not supported."""
    nodes, sample, tensors = perceptron()
    nodes += [
        node("ArgMax", ["y"], ["label"], axis=1),
        node("ZipMap", ["y"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
        node("Mystery", ["y"], ["strange"], domain="com.example"),
    ]
    path = save_model(nodes, ["N", *sample], ["N", 3], tensors)
    proto = onnx.load(path)
    proto.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("com.example", 1)])
    mapped = onnx.ValueInfoProto(name="zipped")
    mapped.type.sequence_type.elem_type.map_type.key_type = TensorProto.INT64
    mapped.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    proto.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    proto.graph.output.insert(1, mapped)
    proto.graph.output.append(helper.make_tensor_value_info("strange", TensorProto.FLOAT, ["N", 3]))
    onnx.save(proto, path)
    outputs = import_onnx(path, trainable=True)(random(2, 6))
    assert len(outputs) == 2
    torch.testing.assert_close(outputs[0], outputs[1])

    del proto.graph.output[1:]
    onnx.save(proto, path)
    with pytest.raises(UnsupportedTeacherError, match="floating-point"):
        import_onnx(path)


def test_files_without_float_weights_are_refused(save_model: SaveModel) -> None:
    path = save_model([node("Relu", ["x"], ["y"])], ["N", 3], ["N", 3])
    import_onnx(path)
    with pytest.raises(UnsupportedTeacherError, match="no floating-point weights"):
        import_onnx(path, trainable=True)

    path = save_model(
        [node("LinearClassifier", ["x"], ["label", "y"], **LINEAR, domain="ai.onnx.ml")], ["N", 3], ["N", 3]
    )
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(proto, path)
    import_onnx(path)
    with pytest.raises(UnsupportedTeacherError, match="weights in attributes"):
        import_onnx(path, trainable=True)

    quantised = [
        node("DequantizeLinear", ["w", "scale"], ["f"]),
        node("MatMul", ["x", "f"], ["m"]),
        node("Add", ["m", "b"], ["y"]),
    ]
    tensors = {"w": torch.ones(3, 3, dtype=torch.int8), "scale": torch.tensor(0.5), "b": torch.ones(3)}
    path = save_model(quantised, ["N", 3], ["N", 3], tensors)
    import_onnx(path)
    with pytest.raises(UnsupportedTeacherError, match="before its quantisation"):
        import_onnx(path, trainable=True)


def test_missing_files_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        import_onnx(tmp_path / "none.onnx")


def test_sizes_that_the_file_leaves_open(save_model: SaveModel) -> None:
    nodes, _, tensors = convolution()
    path = save_model(nodes, ["N", 3, "H", "W"], ["N", 3], tensors)
    x = random(2, 3, 10, 8)
    (y,) = import_onnx(path, trainable=True, input_shape=(3, 10, 8))(x)
    np.testing.assert_allclose(y.detach().numpy(), run_file(path, x), atol=1e-5)
