"""A classifier from an ONNX file as a differentiable torch module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.cost import Cost
from zskd_onnx.importer.file.source import OnnxFile
from zskd_onnx.importer.fx_graph import join
from zskd_onnx.teacher.graphs import Graphs, mean_features
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.head import Head
from zskd_onnx.teacher.signature.output import Output

WEIGHT_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32)
"""Element types of quantised weights and biases; int64 holds indices and shapes."""


class Classifier(nn.Module):
    """A classifier that is differentiable in its input; its weights are frozen unless it is trainable.

    Attributes:
        graphs: the parts of the file that compute its output, scores and features. They share weights.
        domain: the input domain.
        output: the output with the classes.
        head: the final fully connected layer, ``head.weight`` of shape (K, F), or None.
        classes: K.
        cost: multiply-adds and activations of one sample.
        source: the ONNX file.
        batch: the batch size that the graph is bound to; None where any will do. Other batches are cut to
            this size, the last one filled up.
        parity: largest relative difference from onnxruntime that was measured.
        class_names: names of the classes, or None where the file has none.
        trainable: whether its weights are trained, see ``load_classifier``. ``head`` stays as the file has it.
    """

    def __init__(
        self,
        graphs: Graphs,
        *,
        domain: Domain,
        output: Output,
        head: Head | None,
        cost: Cost,
        source: OnnxFile,
        parity: float,
        class_names: tuple[str, ...] | None,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        self.graphs = graphs
        self._parts = nn.ModuleList([graphs.file, graphs.scores, graphs.fast_scores, *graphs.features])
        self.domain = domain
        self.output = output
        self.head = head
        self.cost = cost
        self.source = source
        self.batch = graphs.batch
        self.parity = parity
        self.class_names = class_names
        self.classes = output.classes
        self.trainable = trainable
        self.requires_grad_(trainable)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The file's own output, (N, *output.shape), for x as the file takes it."""
        return self.graphs.run(self.graphs.file, x)

    def scores(self, x: Tensor) -> Tensor:
        """The values before the final softmax or sigmoid, (N, J); J is 1 where two classes share a logit."""
        return self.graphs.run_scores(x)

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) for x exactly as the ONNX file takes it; differentiable in x."""
        return self.output.to_logits(self.scores(x))

    def features(self, x: Tensor) -> Tensor:
        """The input of the final fully connected layer, (N, F), for x as the file takes it.

        Where that layer is a 1x1 convolution, the mean over positions; where two heads are averaged, the
        mean of both inputs.

        Raises:
            UnsupportedTeacherError: the classifier has no such layer.
        """
        if not self.graphs.features:
            raise UnsupportedTeacherError(f"{self.source.path}: no final fully connected layer was found")
        return mean_features([self.graphs.run(part, x) for part in self.graphs.features])

    def graph(self, *, features: bool = False) -> fx.GraphModule:
        """A copy of the graph that computes (scores, *inputs of the head), to read, change and cut; weights are shared.

        ``fx_graph.shape_of`` gives the shapes of its values for one sample, or for ``batch`` samples.

        Args:
            features: whether to include the inputs of the head.
        """
        device = next((tensor.device for tensor in (*self.buffers(), *self.parameters())), None)
        sample = torch.zeros(self.domain.file_shape(self.batch or 1), dtype=self.domain.torch_dtype, device=device)
        with torch.no_grad():
            return join([self.graphs.scores, *(self.graphs.features if features else ())], sample)

    @property
    def parameters_count(self) -> int:
        """Number of weights, including those that the file stores as small integers."""
        scores = self.graphs.scores
        weights = [*scores.buffers(), *scores.parameters()]
        return sum(w.numel() for w in weights if w.ndim and (w.is_floating_point() or w.dtype in WEIGHT_INTEGERS))

    def __repr__(self) -> str:
        domain = self.domain
        return (
            f"{type(self).__name__}({self.source.path.name}: {domain.layout} {domain.shape} in "
            f"[{min(domain.low):g}, {max(domain.high):g}], {self.classes} classes, {self.parameters_count:,} parameters, "
            f"head {'none' if self.head is None else tuple(self.head.weight.shape)})"
        )

    def train(self, mode: bool = True) -> Self:
        """Set the mode of a trainable classifier; any other one stays in inference mode."""
        return super().train(mode and self.trainable)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        shared: dict[str, Tensor] = {}  # parts have the same buffers, which were moved one by one
        for part in self._parts:
            for name, buffer in part.named_buffers():
                owner, _, leaf = name.rpartition(".")
                setattr(part.get_submodule(owner), leaf, shared.setdefault(name, buffer))
        if self.head is not None:
            bias = None if self.head.bias is None else fn(self.head.bias)
            self.head = replace(self.head, weight=fn(self.head.weight), bias=bias)
        return self
