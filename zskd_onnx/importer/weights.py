"""Which tensors of a file are weights: those that layers read, and element-wise ones behind the first layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.source import ORIGIN
from zskd_onnx.importer.nodes import describe
from zskd_onnx.importer.operators.registry import OWN
from zskd_onnx.importer.passes.fold_constants import FOLDED
from zskd_onnx.importer.passes.single_precision import HALF

MICROSOFT = "com.microsoft"

LAYERS: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("", "Attention"): (0, 1, 2),
    ("", "BatchNormalization"): (1, 2),
    ("", "Conv"): (1, 2),
    ("", "ConvTranspose"): (1, 2),
    ("", "Einsum"): (0, 1, 2, 3),
    ("", "GRU"): (1, 2, 3),
    ("", "Gather"): (0,),
    ("", "Gemm"): (0, 1, 2),
    ("", "GroupNormalization"): (1, 2),
    ("", "InstanceNormalization"): (1, 2),
    ("", "LSTM"): (1, 2, 3, 7),
    ("", "LayerNormalization"): (1, 2),
    ("", "MatMul"): (0, 1),
    ("", "PRelu"): (1,),
    ("", "RMSNormalization"): (1,),
    ("", "RNN"): (1, 2, 3),
    (MICROSOFT, "BiasGelu"): (1,),
    (MICROSOFT, "FastGelu"): (1,),
    (MICROSOFT, "FusedConv"): (1, 2),
    (MICROSOFT, "FusedMatMul"): (0, 1),
    (MICROSOFT, "LayerNormalization"): (1, 2),
    (MICROSOFT, "SkipLayerNormalization"): (1, 2, 3, 4),
    (OWN, "Attention"): (0, 1, 2),
    (OWN, "Linear"): (1, 2),
}
"""Operator -> its inputs that are weights where they do not depend on the data."""

ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Sum", "Concat")
"""Operators of ai.onnx whose constants are weights behind the first layer: biases, scales, embeddings, class tokens."""

SHAPES = ("Shape", "Size")
"""Operators whose result does not depend on the values of their input."""

FLOATS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
"""Element types of weights."""

SINGLE = (*HALF, ir.DataType.FLOAT)
"""Element types that a trainable import computes with in float32."""

QUANTISED = ("Quantize", "Dequantize", "QLinear", "QGemm", "Integer", "NBits")
"""Parts of the names of operators that compute with quantised weights."""


@dataclass(frozen=True)
class Weights:
    """What training changes in a model.

    Attributes:
        parameters: constants that are trained, in the order in which the graph reads them.
        statistics: BatchNormalization node -> its running mean and variance.
    """

    parameters: tuple[ir.Value, ...]
    statistics: Mapping[ir.Node, tuple[ir.Value, ir.Value]]

    def all(self) -> list[ir.Value]:
        """Every tensor that training changes, once."""
        return list(dict.fromkeys([*self.parameters, *(v for pair in self.statistics.values() for v in pair)]))


def find_weights(model: ir.Model, nodes: Sequence[ir.Node]) -> Weights:
    """The weights and running statistics of a model.

    A weight is a finite floating-point tensor of the file's main graph that a layer reads, directly or
    behind other constant nodes (see ``LAYERS``), or that an element-wise operator or a Concat reads
    behind the first layer. There, a single number is no weight, and neither is a mask, which consists
    of zeros and one other number.

    Args:
        model: a model that ``clean`` has prepared with ``trainable=True``.
        nodes: the nodes that its outputs depend on, in graph order.

    Raises:
        UnsupportedTeacherError: the weights are quantised, or there are none.
    """
    folded: Mapping[ir.Value, ir.Value] = model.meta[FOLDED]
    for node in (*nodes, *(value.producer() for value in folded.values())):
        if node is not None and any(part in node.op_type for part in QUANTISED):
            raise UnsupportedTeacherError(
                f"{describe(node)}: quantised weights cannot be trained; give the model as it was before its quantisation"
            )
    search = _Search(folded, model.meta[ORIGIN].tensors)
    dependent, behind = set(model.graph.inputs), set[ir.Value]()
    parameters: dict[ir.Value, None] = {}
    for node in nodes:
        data = [value for value in node.inputs if value in dependent]
        if not data or node.op_type in SHAPES:
            continue
        dependent.update(node.outputs)
        layer = LAYERS.get((node.domain, node.op_type), ())
        after = any(value in behind for value in data)
        read = [value for i, value in enumerate(node.inputs) if i in layer and value is not None]
        if not layer and after and node.domain == "" and node.op_type in ELEMENTWISE:
            read = [value for value in node.inputs if value is not None]
        weights = [value for value in read if value not in dependent]
        parameters.update(dict.fromkeys(search.weights(weights, elementwise=not layer)))
        if after or (layer and weights):
            behind.update(node.outputs)
    if not parameters:
        raise UnsupportedTeacherError(
            "the model has no floating-point weights in its own tensors that could be trained; give a neural network with "
            "float weights (a scikit-learn model has its weights in attributes)"
        )
    normalisations = (node for node in nodes if (node.domain, node.op_type) == ("", "BatchNormalization"))
    pairs = ((node, search.statistics(node)) for node in normalisations)
    statistics = {node: pair for node, pair in pairs if pair is not None and not parameters.keys() & set(pair)}
    return Weights(tuple(parameters), statistics)


class _Search:
    """Finds the file's tensors that constants were computed from; each is visited once."""

    def __init__(self, folded: Mapping[ir.Value, ir.Value], names: frozenset[str]) -> None:
        self.folded, self.names = folded, names
        self.visited: set[tuple[ir.Value, bool]] = set()

    def weights(self, values: Sequence[ir.Value], *, elementwise: bool) -> Iterator[ir.Value]:
        """The weights that ``values`` are or were computed from, without those that an earlier call gave."""
        pending = list(reversed(values))
        while pending:
            value = pending.pop()
            if (value, elementwise) in self.visited:
                continue
            self.visited.add((value, elementwise))
            node = self.folded.get(value, value).producer()
            if node is None:
                if self._stored(value) and _is_weight(value, elementwise):
                    yield value
            elif node.op_type not in SHAPES:
                pending += reversed([v for v in node.inputs if v is not None])

    def statistics(self, node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
        """The file's running mean and variance of a BatchNormalization, or None if they are computed."""
        if (
            len(node.outputs) > 1
            or len(node.inputs) < 5
            or _integer(node, "training_mode", 0)
            or not _integer(node, "spatial", 1)
        ):
            return None
        mean, variance = (self._original(value) for value in node.inputs[3:5])
        return None if mean is None or variance is None else (mean, variance)

    def _original(self, value: ir.Value | None) -> ir.Value | None:
        """The file's tensor that a value is, also behind Identity and Cast to float32; None if it is another."""
        single = False
        while value is not None and (node := self.folded.get(value, value).producer()) is not None:
            cast = node.op_type == "Cast" and _integer(node, "to", 0) in SINGLE
            if node.domain != "" or not (cast or node.op_type == "Identity"):
                return None
            single, value = single or cast, node.inputs[0]
        if value is None or not self._stored(value):
            return None
        return value if not single or value.dtype in SINGLE else None

    def _stored(self, value: ir.Value) -> bool:
        """Whether a value is a floating-point tensor of the file."""
        return value.name in self.names and value.const_value is not None and value.const_value.dtype in FLOATS


def _integer(node: ir.Node, key: str, default: int) -> int:
    return node.attributes[key].as_int() if key in node.attributes else default


def _is_weight(value: ir.Value, elementwise: bool) -> bool:
    tensor = value.const_value
    assert tensor is not None
    if len(tensor.shape) == 0 or (elementwise and tensor.size == 1):
        return False
    with np.errstate(over="ignore"):
        numbers = tensor.numpy().astype(np.float32, copy=False)
    return bool(np.isfinite(numbers).all()) and not (elementwise and _is_mask(numbers))


def _is_mask(numbers: np.ndarray) -> bool:
    distinct = np.unique(numbers)
    return numbers.size > 2 and len(distinct) == 2 and 0 in distinct
