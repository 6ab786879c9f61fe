"""Convolutions that are pooled at once, before their activation and inside blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from zskd_onnx.importer.operators.activation import relu
from zskd_onnx.importer.operators.block_convolution import block_convolution, block_side, block_weight
from zskd_onnx.importer.operators.convolution import conv
from zskd_onnx.importer.operators.pooling import max_pool


def fuse_pooling(module: fx.GraphModule) -> fx.GraphModule:
    """The same function with each Conv, Relu, MaxPool of 2 x 2 in one, where blocks pay; weights are shared.

    Relu and the largest value change places, which changes nothing else. A value that the module gives has another reader
    and stays. Where there is nothing to fuse, the module itself comes back.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    fused = fx.GraphModule(module, graph, class_name="Teacher")
    found = False
    for node in list(graph.nodes):
        before = _alone(node.args[0]) if node.target is max_pool and _halves(node) else None
        rectified = before is not None and before.target is relu
        convolution = _alone(before.args[0]) if before is not None and rectified else before
        if convolution is None or convolution.target is not conv or not _in_blocks(fused, convolution):
            continue
        given: Any = convolution.args
        weight = fused.get_buffer(str(given[1].target))
        side, name = block_side(weight, pool=True), f"{node.name}_blocks"
        while hasattr(fused, name):  # a weight of the file may be called so
            name += "_"
        fused.register_buffer(name, block_weight(weight, side, pool=True))
        padding: Any = convolution.kwargs.get("pads") or (0, 0)
        with graph.inserting_before(node):
            arguments = (*given, *[None] * (3 - len(given)), graph.get_attr(name))
            keywords: dict[str, Any] = {"side": side, "pads": tuple(padding[:2]), "rectified": rectified}
            one = graph.call_function(pooled_convolution, arguments, keywords)
        node.replace_all_uses_with(one)
        found = True
    if not found:
        return module
    graph.eliminate_dead_code()
    fused.recompile()
    return fused


def pooled_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    blocks: Tensor,
    *,
    side: int,
    pads: Sequence[int],
    rectified: bool,
) -> Tensor:
    """x (N, C, H, W), weight (M, C, *kernel) -> (N, M, *out): strides of 1, then the largest of each 2 x 2 positions.

    Args:
        blocks: the weight as ``block_weight`` makes it for blocks of a ``side``.
        pads: zeros before and after each axis.
        rectified: whether what is below 0 becomes 0.
    """
    if x.requires_grad and x.is_cpu:
        y = block_convolution(x, blocks, bias, weight.shape[2:], pads, side, pool=True)
    else:
        y = _halve(F.conv2d(x, weight, bias, padding=tuple(pads)))
    return F.relu(y) if rectified else y


def _halve(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H/2, W/2), rounded down: the largest of each 2 x 2 positions.

    CPUs pool a vector of channels at a time; of few channels the largest of four slices takes a ninth of the time, as long
    as no gradient is wanted.
    """
    if not x.is_cpu:
        return F.max_pool2d(x, 2)
    height, width = (n // 2 * 2 for n in x.shape[2:])
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


def _alone(value: Any) -> fx.Node | None:
    """A node that has one reader."""
    return value if isinstance(value, fx.Node) and len(value.users) == 1 else None


def _halves(pool: fx.Node) -> bool:
    """Whether a MaxPool takes 2 x 2 positions at a time."""
    given: Any = pool.kwargs
    return bool(
        tuple(given["kernel_shape"]) == tuple(given.get("strides") or ()) == (2, 2)
        and not any(given.get("pads") or ())
        and set(given.get("dilations") or ()) <= {1}
        and given.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and not given.get("ceil_mode")
        and given["num_outputs"] == 1
    )


def _in_blocks(module: fx.GraphModule, convolution: fx.Node) -> bool:
    """Whether a convolution can be computed in blocks, and it pays."""
    given: Any = convolution.kwargs
    held = convolution.args[1]
    if not isinstance(held, fx.Node) or held.op != "get_attr":
        return False
    weight = module.get_buffer(str(held.target))
    pads = given.get("pads") or (0, 0, 0, 0)
    return bool(
        weight.ndim == 4
        and given.get("group", 1) == 1
        and set(given.get("strides") or ()) | set(given.get("dilations") or ()) <= {1}
        and given.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and pads[:2] == pads[2:]
        and min(pads) >= 0
        and block_side(weight, pool=True) > 1
    )
