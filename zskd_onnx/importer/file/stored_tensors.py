"""The tensors that a file's main graph contains."""

from __future__ import annotations

from onnx import AttributeProto, ModelProto, TensorProto


def tensors_of(model: ModelProto) -> dict[str, TensorProto | AttributeProto]:
    """Name -> initialiser, or the attribute of a Constant node, which is named after its output."""
    tensors: dict[str, TensorProto | AttributeProto] = {
        node.output[0]: node.attribute[0]
        for node in model.graph.node
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.attribute
    }
    tensors.update((tensor.name, tensor) for tensor in model.graph.initializer)
    return tensors
