"""Layers that read channels with weights: their matrices, and the inputs that they multiply."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from zskd_onnx.events import OnProgress
from zskd_onnx.students.pruning.layer_inputs import layer_inputs
from zskd_onnx.students.pruning.optimal_brain_surgeon import mean_products, sufficient_rows
from zskd_onnx.students.thinning.channels import Reader
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.observed_graph import Feeds, Node
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer


@dataclass(frozen=True)
class WeightedReader:
    """A convolution of one group, or a product with a constant matrix.

    Attributes:
        node: the node.
        weight: name of its weight, an initialiser that nothing else reads.
        bias: name of its bias, likewise; None without one.
        transposed: whether the weight is (I, O).
        channels: the channel of each input, (I,) before the taps of a kernel.
    """

    node: Node
    weight: str
    bias: str | None
    transposed: bool
    channels: np.ndarray

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """The weight as (O, inputs); the taps of a kernel follow one another."""
        return (array.T if self.transposed else array).reshape(
            len(array) if not self.transposed else array.shape[1], -1
        )

    def array(self, matrix: np.ndarray, like: np.ndarray) -> np.ndarray:
        """The reverse of ``matrix``."""
        return np.ascontiguousarray((matrix.T if self.transposed else matrix).reshape(like.shape).astype(like.dtype))

    def rows(self, x: np.ndarray, weight: np.ndarray, positions: int, rng: torch.Generator) -> Tensor:
        """Inputs (R, inputs) that the matrix multiplies, at random positions of each sample."""
        values = torch.from_numpy(x).float()
        if self.node.kind != "Conv":
            rows = values.reshape(-1, values.shape[-1])
            if values.ndim > 2:
                rows = rows[torch.randint(len(rows), (min(len(rows), positions * len(values)),), generator=rng)]
            return rows
        rank = weight.ndim - 2
        pads = self.node.attributes.get("pads", [0] * 2 * rank)
        ones = [1] * rank
        layer = OnnxLayer(
            "convolution",
            self.node.describe(),
            torch.from_numpy(weight.copy()),
            None,
            stride=tuple(self.node.attributes.get("strides", ones)),
            padding=tuple(pads[:rank]),
            dilation=tuple(self.node.attributes.get("dilations", ones)),
        )
        return layer_inputs(values, layer, positions, rng)


def weighted_readers(groups: ChannelGroups, weights: Mapping[str, np.ndarray]) -> list[WeightedReader]:
    """The readers whose weights can be re-fitted.

    Args:
        weights: initialiser -> content.
    """
    return [
        reader for reader in (_weighted(groups, reader, weights) for reader in groups.readers) if reader is not None
    ]


def _weighted(groups: ChannelGroups, reader: Reader, weights: Mapping[str, np.ndarray]) -> WeightedReader | None:
    graph = groups.graph
    node = graph.nodes[reader.node]
    attributes = node.attributes
    name = node.inputs[reader.input]
    channels = groups.channel_of.get((name, reader.axis))
    if reader.input != 1 or not _is_own(groups, name, weights) or channels is None:
        return None
    if node.kind == "Conv":
        pads = attributes.get("pads", [])
        symmetric = list(pads[: len(pads) // 2]) == list(pads[len(pads) // 2 :])
        if attributes.get("group", 1) != 1 or not symmetric or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
    elif node.kind == "Gemm":
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            return None
    elif node.kind != "MatMul" or weights[name].ndim != 2:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    own_bias = bias if _is_own(groups, bias, weights) and weights[bias].ndim == 1 else None
    transposed = node.kind == "MatMul" or (node.kind == "Gemm" and not attributes.get("transB", 0))
    return WeightedReader(node, name, own_bias, transposed, channels)


def _is_own(groups: ChannelGroups, name: str, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether a value is an initialiser of floating numbers that one node reads."""
    return name in weights and weights[name].dtype.kind == "f" and len(groups.graph.readers[name]) == 1


def input_products(
    groups: ChannelGroups,
    readers: Sequence[WeightedReader],
    weights: Mapping[str, np.ndarray],
    batches: Iterable[Feeds],
    samples: int,
    rng: torch.Generator,
    on_progress: OnProgress,
) -> list[Tensor]:
    """``mean_products`` of the inputs of each reader, over all batches.

    Args:
        batches: inputs of the graph.
        samples: their number of samples in all.
        on_progress: is called with the share of them that is done.
    """
    products: list[Tensor] = []
    done = 0
    for count, values in _inputs(groups.graph.proto, [reader.node.inputs[0] for reader in readers], batches):
        of_batch = []
        for reader in readers:
            weight = weights[reader.weight]
            positions = math.ceil(sufficient_rows(weight[0].size) / samples)
            rows = reader.rows(values[reader.node.inputs[0]], weight, positions, rng)
            of_batch.append(mean_products(rows) * (count / samples))
        products = [total + new for total, new in zip(products, of_batch, strict=True)] if products else of_batch
        done += count
        on_progress(done / samples)
    return products


def _inputs(
    model: onnx.ModelProto, names: Sequence[str], batches: Iterable[Feeds]
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The number of samples of each batch, and the values of these names."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    unique = list(dict.fromkeys(names))
    fed = {value.name for value in model.graph.input}
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unique if name not in fed)
    session = open_session(shown.SerializeToString())
    outputs = [value.name for value in session.get_outputs()]
    for feeds in batches:
        values = dict(zip(outputs, session.run(outputs, dict(feeds)), strict=True)) | dict(feeds)
        yield len(next(iter(feeds.values()))), values


def read_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The content of all initialisers."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
