"""The second-last fully connected layer, and what the teacher makes of its outputs (Wang 2021, eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from zskd_onnx.importer.fx_graph import computed_inputs, cut, give, is_constant, outputs_of, shape_of
from zskd_onnx.teacher.probes.onnx_chain import read_layer
from zskd_onnx.teacher.signature.output import Output
from zskd_onnx.teacher.teacher import Teacher, batches


@dataclass(frozen=True)
class SecondLast:
    """The second-last fully connected layer, s = weight h + bias, on the device that the teacher was on.

    Attributes:
        weight: (F2, F1), one row for each unit.
        bias: (F2,), or None.
        node: the ONNX node, as messages name it.
    """

    weight: Tensor
    bias: Tensor | None
    node: str
    _rest: fx.GraphModule = field(repr=False)
    _output: Output = field(repr=False)
    _batch: int | None = field(repr=False)

    def logits(self, s: Tensor) -> Tensor:
        """Logits (N, K) of the layer's outputs s (N, F2): all that stands behind it is applied; differentiable."""
        scores = torch.cat([self._rest(piece)[0] for piece in batches(s, self._batch)])[: len(s)]
        return self._output.to_logits(scores.reshape(len(s), -1))


def find_second_last(teacher: Teacher) -> SecondLast | None:
    """Search from the head's input backwards for the nearest fully connected layer.

    Returns:
        None where there is no head, or none that multiplies real numbers; where a convolution or a
        layer that cannot be read comes first; where scores depend on something beside that layer.
    """
    if teacher.head is None:
        return None
    module = teacher.graph(features=True)
    scores, features, *others = outputs_of(module)
    if others:
        return None
    reached = {features}
    for node in reversed(module.graph.nodes):
        if node not in reached:
            continue
        layer = read_layer(module, node)
        if layer is not None and layer.kind != "batch_norm":
            break
        if node.op != "call_function" or _holds_matrix(node):
            return None
        reached.update(computed_inputs(node))
    else:
        return None
    if layer.kind != "linear" or shape_of(node) != (teacher.batch or 1, len(layer.weight)):
        return None
    give(module, [scores])
    if not cut(module, node):
        return None
    return SecondLast(layer.weight, layer.bias, layer.node, module, teacher.output, teacher.batch)


def _holds_matrix(node: fx.Node) -> bool:
    """Whether a node has weights that go from some inputs to others: a layer of another kind."""
    return any(is_constant(n) and sum(size > 1 for size in shape_of(n) or ()) > 1 for n in node.all_input_nodes)
