"""The teacher: a classifier from an ONNX file as a differentiable torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.cost import Cost
from zskd_onnx.importer.file.source import Source
from zskd_onnx.importer.fuse_pooling import fuse_pooling
from zskd_onnx.importer.fx_graph import join
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.head import Head
from zskd_onnx.teacher.signature.inventory import Layers
from zskd_onnx.teacher.signature.output import Labels, Names, Output

WEIGHT_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32)
"""What quantised weights and biases are; ONNX's indices and shapes are int64."""


class Teacher(nn.Module):
    """A frozen classifier whose inputs carry gradients.

    Attributes:
        domain: what the file's input looks like.
        output: what the file's output looks like.
        head: the final fully connected layer, ``head.weight`` of shape (K, F), or None.
        classes: K.
        cost: multiply-adds and activations of one sample.
        layers: the layers that recipes ask for.
        source: the file.
        batch: the batch size that the graph is bound to; None where any will do. Other batches are
            cut to this size, the last one filled up.
        parity: largest difference from onnxruntime that the import showed.
        class_names: what the classes are called, or None where the file does not say.
        labels: the outputs that name the winner.
        zipped: the keys of the output, where it is a ZipMap.

    ``load_teacher`` sets the last four.
    """

    parity: float = float("nan")
    class_names: tuple[str, ...] | None = None
    labels: tuple[Labels, ...] = ()
    zipped: Names | None = None

    def __init__(
        self,
        file: fx.GraphModule,
        scores: fx.GraphModule,
        features: Sequence[fx.GraphModule],
        *,
        domain: Domain,
        output: Output,
        head: Head | None,
        cost: Cost,
        layers: Layers,
        source: Source,
        batch: int | None = None,
    ) -> None:
        """``file``, ``scores`` and ``features`` compute those three from the file's input."""
        super().__init__()
        self._file = file
        self._scores = scores
        self._fast = fuse_pooling(scores)  # what runs; ``graph`` gives the plain one, with every value in it
        self._features = nn.ModuleList(features)
        self.domain = domain
        self.output = output
        self.head = head
        self.cost = cost
        self.layers = layers
        self.source = source
        self.batch = batch
        self.classes = output.classes
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The file's own output, (N, *output.shape), for x as the file takes it."""
        return self._run(self._file, x)

    def scores(self, x: Tensor) -> Tensor:
        """The value before the final softmax or sigmoid, (N, J); J is 1 where two classes share a logit."""
        return self._run(self._fast, x).reshape(len(x), -1)

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) for x exactly as the ONNX file takes it; differentiable in x."""
        return self.output.to_logits(self.scores(x))

    def features(self, x: Tensor) -> Tensor:
        """The input of the final fully connected layer, (N, F).

        Where that layer is a 1x1 convolution, the mean over positions; where two heads are
        averaged, the mean of both inputs.

        Raises:
            UnsupportedTeacherError: the teacher has no such layer.
        """
        if not self._features:
            raise UnsupportedTeacherError(f"{self.source.path}: no final fully connected layer was found")
        return mean_features([self._run(part, x) for part in self._features])

    def graph(self, *, features: bool = False) -> fx.GraphModule:
        """A copy of the graph that gives (scores, *inputs of the head): to look into, to change, to cut.

        Weights are shared. ``graph.shape_of`` tells the shapes of one sample, or of ``batch`` of them.

        Args:
            features: whether to give the inputs of the head.
        """
        device = next((b.device for b in self.buffers()), None)
        sample = torch.zeros(self.domain.file_shape(self.batch or 1), dtype=self.domain.torch_dtype, device=device)
        with torch.no_grad():
            return join([self._scores, *(self._features if features else ())], sample)

    def _run(self, part: nn.Module, x: Tensor) -> Tensor:
        """Run a part of the graph at whatever batch size it allows."""
        pieces = [part(piece) for piece in batches(x, self.batch)]
        return pieces[0] if self.batch is None else torch.cat(pieces)[: len(x)]

    @property
    def parameters_count(self) -> int:
        """Elements of all weights, those that a file keeps as small integers included."""
        weights = [*self._scores.buffers(), *self._scores.parameters()]
        return sum(w.numel() for w in weights if w.ndim and (w.is_floating_point() or w.dtype in WEIGHT_INTEGERS))

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other teachers, as plain values: the file, what was fixed in it, and the input domain."""
        return {
            "teacher_sha256": self.source.sha256,
            "fixed_inputs": self.source.fixed,
            "domain": {
                "shape": list(self.domain.shape),
                "low": list(self.domain.low),
                "high": list(self.domain.high),
                "layout": self.domain.layout,
            },
        }

    def train(self, mode: bool = True) -> Teacher:
        """A teacher stays in inference mode."""
        return super().train(False)

    def _apply(self, fn: Any, recurse: bool = True) -> Teacher:
        super()._apply(fn, recurse)
        if self.head is not None:
            bias = None if self.head.bias is None else fn(self.head.bias)
            self.head = Head(fn(self.head.weight), bias, self.head.node)
        return self


def batches(x: Tensor, size: int | None) -> tuple[Tensor, ...]:
    """x whole, or in pieces of ``size`` samples, the last one filled up."""
    if size is None:
        return (x,)
    missing = -len(x) % size
    filled = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
    return filled.split(size)


def mean_features(inputs: Sequence[Tensor]) -> Tensor:
    """Inputs of the head (N, F), or (N, F, *positions) of a 1x1 convolution, as the one (N, F) that W multiplies."""
    found = [h if h.ndim == 2 else h.flatten(2).mean(2) for h in inputs]
    return torch.stack(found).mean(0) if len(found) > 1 else found[0]


def select_output(module: fx.GraphModule, index: int) -> fx.GraphModule:
    """The part of a module that computes one of its outputs; weights are shared."""
    wanted: fx.Node = module.graph.output_node().args[0][index]  # type: ignore[index, assignment]
    needed, waiting = {wanted}, [wanted]
    while waiting:
        before = set(waiting.pop().all_input_nodes) - needed
        needed |= before
        waiting += before
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in module.graph.nodes:
        if node in needed or node.op == "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[wanted])
    return fx.GraphModule(module, graph, class_name="Teacher")


def channels_last(module: nn.Module) -> None:
    """Store convolution weights channels last: twice as fast on CPUs for small nets.

    A weight with one input channel counts as contiguous both ways, and convolutions go by its
    strides, so it is copied even where ``contiguous`` would return it as it is.
    """
    for name, buffer in module.named_buffers():
        if buffer.ndim == 4:
            owner, _, leaf = name.rpartition(".")
            stored = torch.empty_like(buffer, memory_format=torch.channels_last).copy_(buffer)
            setattr(module.get_submodule(owner), leaf, stored)
