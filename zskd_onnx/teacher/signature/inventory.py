"""The layers of a teacher that some recipes look at: the one before the last, and batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from zskd_onnx.importer.nodes import describe, operator_of

LINEAR = ("Gemm", "MatMul", "Conv", "ConvTranspose")
OPAQUE = ("LSTM", "GRU", "RNN", "Attention")


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        node: as messages name it.
        outputs: how many units or filters it has.
    """

    node: str
    outputs: int


@dataclass(frozen=True)
class Layers:
    """What the graph holds.

    Attributes:
        second_last: the layer with weights that the final one's input comes from; None where that
            is not one layer (a sum of branches, a recurrent or an attention layer).
        convolutions: how many.
        batch_norms: BatchNormalization nodes with statistics; exporters often fold them away.
        operators: operator -> how often it stands in the file, and whether this package reads it.
    """

    second_last: Layer | None
    convolutions: int
    batch_norms: int
    operators: dict[str, tuple[int, bool]]


def count_operators(model: ir.Model) -> dict[str, tuple[int, bool]]:
    """The operators of a file as it is, before any clean-up."""
    found: dict[str, tuple[int, bool]] = {}
    for node in model.graph:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        known = operator_of(node, model.opset_imports) is not None or node.op_type in ("If", "Loop")
        found[name] = (found.get(name, (0, known))[0] + 1, known)
    return dict(sorted(found.items()))


def find_layers(model: ir.Model, features: tuple[ir.Value, ...], operators: dict[str, tuple[int, bool]]) -> Layers:
    """Look at a cleaned model.

    Args:
        features: the input of the final layer, as ``find_tail`` has it.
    """
    nodes = list(model.graph)
    return Layers(
        second_last=_before(features[0]) if len(features) == 1 else None,
        convolutions=sum(node.op_type in ("Conv", "ConvTranspose") for node in nodes),
        batch_norms=sum(node.op_type == "BatchNormalization" for node in nodes),
        operators=operators,
    )


def _before(value: ir.Value) -> Layer | None:
    """Follow a value backwards through operators with one computed input."""
    while (node := value.producer()) is not None:
        if node.op_type in LINEAR and node.inputs[1] is not None and node.inputs[1].const_value is not None:
            sizes = node.inputs[1].const_value.shape.numpy()
            across = node.op_type == "MatMul" or (node.op_type == "Gemm" and not _transposed(node))
            return Layer(describe(node), int(sizes[-1] if across else sizes[0]))
        computed = {v for v in node.inputs if v is not None and v.const_value is None}
        if node.op_type in OPAQUE or len(computed) != 1:
            return None
        (value,) = computed
    return None


def _transposed(node: ir.Node) -> bool:
    return bool(node.attributes["transB"].value) if "transB" in node.attributes else False
