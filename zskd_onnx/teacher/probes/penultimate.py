"""The penultimate fully connected layer, and the logits for its outputs (Wang 2021, eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from zskd_onnx.importer.fx_graph import computed_inputs, cut, give, is_constant, outputs_of, shape_of
from zskd_onnx.teacher.graphs import batches
from zskd_onnx.teacher.probes.onnx_chain import read_layer
from zskd_onnx.teacher.signature.output import Output
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Penultimate:
    """The penultimate fully connected layer, s = W h + b, and the part of the teacher behind it.

    Its tensors are on the device of the teacher when it was found.

    Attributes:
        weight: W, shape (F2, F1), one row per unit.
        bias: b, shape (F2,), or None.
        node: the ONNX node, as messages name it.
    """

    weight: Tensor
    bias: Tensor | None
    node: str
    _rest: fx.GraphModule = field(repr=False)
    _output: Output = field(repr=False)
    _batch: int | None = field(repr=False)

    def logits(self, s: Tensor) -> Tensor:
        """Logits (N, K) for outputs s (N, F2) of the layer; differentiable in s."""
        scores = torch.cat([self._rest(piece)[0] for piece in batches(s, self._batch)])[: len(s)]
        return self._output.to_logits(scores.reshape(len(s), -1))


def find_penultimate(teacher: Teacher) -> Penultimate | None:
    """Find the nearest fully connected layer before the head.

    Returns:
        The layer, or None: without a head, or with two heads that are added; if no fully connected
        layer with real weights stands before the head; if a convolution or an unsupported layer
        stands between; if the scores also depend on values that bypass the layer.
    """
    if teacher.head is None:
        return None
    module = teacher.graph(features=True)
    scores, features, *more_features = outputs_of(module)
    if more_features:
        return None
    reached = {features}
    for node in reversed(module.graph.nodes):
        if node not in reached:
            continue
        layer = read_layer(module, node)
        if layer is not None and layer.kind != "batch_norm":
            break
        if node.op != "call_function" or _has_weight_matrix(node):
            return None
        reached.update(computed_inputs(node))
    else:
        return None
    if layer.kind != "linear" or shape_of(node) != (teacher.batch or 1, len(layer.weight)):
        return None
    give(module, [scores])
    if not cut(module, node):
        return None
    return Penultimate(layer.weight, layer.bias, layer.node, module, teacher.output, teacher.batch)


def _has_weight_matrix(node: fx.Node) -> bool:
    """Whether a node reads a weight with two or more axes longer than 1: it is a layer of another kind."""
    return any(is_constant(n) and sum(size > 1 for size in shape_of(n) or ()) > 1 for n in node.all_input_nodes)
