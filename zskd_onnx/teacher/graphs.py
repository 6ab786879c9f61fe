"""The imported graphs of a classifier, and how they run at the batch size that the file allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from zskd_onnx.importer.fuse_pooling import fuse_pooling
from zskd_onnx.importer.fx_graph import ImportedModel


@dataclass(frozen=True)
class Graphs:
    """Parts of one imported file that compute its outputs from its input; they share weights.

    Attributes:
        file: computes the file's own output, (N, *shape).
        scores: computes the values before the final softmax or sigmoid, (N, J) or (N, J, 1, ...).
        features: compute the inputs of the final fully connected layer; two where two heads are averaged,
            none without such a layer.
        batch: the batch size that the graph is bound to; None where any will do.
    """

    file: fx.GraphModule
    scores: fx.GraphModule
    features: tuple[fx.GraphModule, ...]
    batch: int | None

    @cached_property
    def fast_scores(self) -> fx.GraphModule:
        """``scores`` with pooling fused into convolutions, except those that are trained; this is what runs."""
        return fuse_pooling(self.scores)

    def run(self, part: nn.Module, x: Tensor) -> Tensor:
        """Run a part on (N, ...) samples as the file takes them, in batches of the bound size."""
        pieces = [part(piece) for piece in batches(x, self.batch)]
        return pieces[0] if self.batch is None else torch.cat(pieces)[: len(x)]

    def run_scores(self, x: Tensor) -> Tensor:
        """Scores (N, J) for (N, ...) samples as the file takes them."""
        return self.run(self.fast_scores, x).reshape(len(x), -1)


def batches(x: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """x in pieces of ``size`` samples, the last one filled up with copies; x whole where size is None."""
    if size is None:
        return (x,)
    missing = -len(x) % size
    filled = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
    return filled.split(size)


def mean_features(inputs: Sequence[Tensor]) -> Tensor:
    """Features (N, F) of head inputs (N, F), or (N, F, *positions) of a 1x1 convolution: means over positions and heads."""
    features = [h if h.ndim == 2 else h.flatten(2).mean(2) for h in inputs]
    return torch.stack(features).mean(0) if len(features) > 1 else features[0]


def select_output(module: fx.GraphModule, index: int) -> fx.GraphModule:
    """The part of a module that computes one of its outputs; weights are shared."""
    output: fx.Node = module.graph.output_node().args[0][index]  # type: ignore[index, assignment]
    needed, waiting = {output}, [output]
    while waiting:
        before = set(waiting.pop().all_input_nodes) - needed
        needed |= before
        waiting += before
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in module.graph.nodes:
        if node in needed or node.op == "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[output])
    return ImportedModel(module, graph, class_name="ImportedModel")


def channels_last(module: nn.Module) -> None:
    """Store convolution weights in channels-last order, which is twice as fast on CPUs for small nets.

    A weight with one input channel counts as contiguous both ways, and convolutions go by its strides, so
    it is copied even where ``contiguous`` would return it unchanged.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            detached = tensor.detach()
            tensor.data = torch.empty_like(detached, memory_format=torch.channels_last).copy_(detached)
