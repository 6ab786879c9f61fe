"""Weights written back into their file: bit-identical without training, and right in onnxruntime after it."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor

from tests.conftest import SaveModel
from tests.importer.nets import NETS, TOLERANCE, convolution, perceptron, random
from zskd_onnx import UsageError, ZskdError, import_onnx, write_back
from zskd_onnx.importer.file.stored_tensors import tensors_of
from zskd_onnx.importer.fx_graph import ImportedModel
from zskd_onnx.importer.write_back import updated_model
from zskd_onnx.teacher.graphs import select_output


def save(save_model: SaveModel, name: str) -> tuple[Path, Tensor]:
    """A file of a net with metadata, and a batch for it."""
    nodes, sample, tensors = NETS[name]()
    sizes = ["N", 4 if name == "shared" else 3]
    return save_model(nodes, ["N", *sample], sizes, tensors, metadata={"author": "somebody"}), random(7, *sample)


def train(module: ImportedModel, x: Tensor, rate: float = 0.1) -> None:
    """One step of training."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), rate)
    F.cross_entropy(module(x)[0], torch.arange(len(x)) % 3).backward()
    optimizer.step()
    module.eval()


def without_weights(model: onnx.ModelProto, names: set[str]) -> bytes:
    """Everything in a model but the values of some tensors."""
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    for name, tensor in tensors_of(rest).items():
        if name in names:
            holder = tensor.t if isinstance(tensor, onnx.AttributeProto) else tensor
            for field in ("raw_data", "float_data", "double_data", "int32_data"):
                holder.ClearField(field)
            if isinstance(tensor, onnx.AttributeProto):
                del tensor.floats[:]
    return rest.SerializeToString(deterministic=True)


def run_file(model: onnx.ModelProto | Path, *x: Tensor) -> list[np.ndarray]:
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: v.numpy() for i, v in zip(session.get_inputs(), x, strict=True)})


@pytest.mark.parametrize("name", NETS)
def test_without_training_the_file_is_the_same(save_model: SaveModel, tmp_path: Path, name: str) -> None:
    path, _ = save(save_model, name)
    write_back(import_onnx(path, trainable=True), tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx").SerializeToString(deterministic=True) == onnx.load(path).SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("name", NETS)
def test_after_a_step_the_file_computes_what_the_module_does(save_model: SaveModel, tmp_path: Path, name: str) -> None:
    path, x = save(save_model, name)
    module = import_onnx(path, trainable=True)
    train(module, x)
    write_back(module, tmp_path / "out.onnx")
    before, after = onnx.load(path), onnx.load(tmp_path / "out.onnx")
    (y,) = module(x)
    tolerance = TOLERANCE.get(name, 1e-5)
    np.testing.assert_allclose(run_file(tmp_path / "out.onnx", x)[0], y.detach().numpy(), atol=tolerance)
    assert np.abs(run_file(path, x)[0] - y.detach().numpy()).max() > tolerance
    names = set(module.initializers.values())
    changed = {
        n for n, t in tensors_of(after).items() if t.SerializeToString() != tensors_of(before)[n].SerializeToString()
    }
    assert changed <= names
    assert without_weights(after, names) == without_weights(before, names)


def test_running_statistics_are_written(save_model: SaveModel) -> None:
    path, x = save(save_model, "convolution")
    module = import_onnx(path, trainable=True)
    with torch.no_grad():
        module.train()(x)
    weights = {t.name: numpy_helper.to_array(t) for t in updated_model(module).graph.initializer}
    for name, before in convolution()[2].items():
        changed = bool(np.abs(weights[name] - before.numpy()).max() > 1e-4)
        assert changed is name.startswith("bn1.running"), name
    np.testing.assert_array_equal(weights["bn1.running_var"], module.get_buffer("bn1.running_var").numpy())


def test_parts_and_copies_of_a_module_are_written_too(save_model: SaveModel) -> None:
    path, x = save(save_model, "convolution")
    module = import_onnx(path, trainable=True)
    part = copy.deepcopy(select_output(module, 0)).to(memory_format=torch.channels_last)
    part.train()
    part(x).sum().backward()
    torch.optim.SGD(part.parameters(), 0.01).step()
    part.eval()
    np.testing.assert_allclose(run_file(updated_model(part), x)[0], part(x).detach().numpy(), atol=1e-5)
    assert updated_model(module).SerializeToString() == onnx.load(path).SerializeToString()


def test_labels_maps_and_fixed_inputs_stay(save_model: SaveModel, tmp_path: Path) -> None:
    nodes, sample, tensors = perceptron()
    nodes[-1] = helper.make_node("Mul", ["a2", "prior"], ["y"])
    nodes += [
        helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["y"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=[5, 6, 7]),
    ]
    path = save_model(nodes, ["N", *sample], ["N", 3], tensors)
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    zipped = onnx.ValueInfoProto(name="zipped")
    zipped.type.sequence_type.elem_type.map_type.key_type = onnx.TensorProto.INT64
    zipped.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    proto.graph.output.insert(0, helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["N"]))
    proto.graph.output.append(zipped)
    proto.graph.input.append(helper.make_tensor_value_info("prior", onnx.TensorProto.FLOAT, [3]))
    onnx.save(proto, path)
    prior = torch.tensor([1.0, 2.0, 3.0])
    module = import_onnx(path, trainable=True, fix={"prior": prior.numpy()})
    x = random(7, 6)
    train(module, x)
    write_back(module, tmp_path / "out.onnx")
    label, scores, maps = run_file(tmp_path / "out.onnx", x, prior)
    y = module(x)[0].detach().numpy()
    np.testing.assert_allclose(scores, y, atol=1e-5)
    np.testing.assert_array_equal(label, y.argmax(1))
    assert maps[0].keys() == {5, 6, 7}
    names = set(module.initializers.values())
    assert without_weights(onnx.load(tmp_path / "out.onnx"), names) == without_weights(onnx.load(path), names)


def test_external_weights_are_written_inside(save_model: SaveModel, tmp_path: Path) -> None:
    nodes, sample, tensors = perceptron()
    path = save_model(nodes, ["N", *sample], ["N", 3], tensors)
    (tmp_path / "folder").mkdir()
    external = tmp_path / "folder" / "model.onnx"
    onnx.save(onnx.load(path), external, save_as_external_data=True, size_threshold=0, location="weights.bin")
    write_back(import_onnx(external, trainable=True), tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    for tensor in written.graph.initializer:
        assert numpy_helper.to_array(tensor).tobytes() == tensors[tensor.name].numpy().tobytes()

    module = import_onnx(external, trainable=True)
    (external.parent / "weights.bin").unlink()
    with pytest.raises(UsageError, match="import it again"):
        updated_model(module)


def test_a_file_that_changed_is_refused(save_model: SaveModel, tmp_path: Path) -> None:
    path, _ = save(save_model, "perceptron")
    module = import_onnx(path, trainable=True)
    with pytest.raises(UsageError, match="choose another path"):
        write_back(module, path)
    with pytest.raises(UsageError, match="parent folder"):
        write_back(module, tmp_path / "none" / "out.onnx")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="changed since"):
        write_back(module, tmp_path / "out.onnx")
    path.unlink()
    with pytest.raises(UsageError, match="no such file"):
        write_back(module, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_modules_that_are_not_trainable_are_refused(save_model: SaveModel, tmp_path: Path) -> None:
    path, _ = save(save_model, "perceptron")
    with pytest.raises(UsageError, match="trainable=True"):
        write_back(import_onnx(path), tmp_path / "out.onnx")


def test_weights_that_diverged_are_refused(save_model: SaveModel, tmp_path: Path) -> None:
    """70,000 is finite in float32, and infinite in half precision."""
    path, _ = save(save_model, "half_precision")
    module = import_onnx(path, trainable=True)
    with torch.no_grad():
        module.get_parameter("w")[0, 0] = 7e4
    with pytest.raises(ZskdError, match="'w' are NaN or infinite as float16"):
        write_back(module, tmp_path / "out.onnx")
