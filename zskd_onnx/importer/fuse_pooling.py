"""Fuse each convolution with the max pooling behind it, before the ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from zskd_onnx.importer.fx_graph import ImportedModel
from zskd_onnx.importer.operators.activation import relu
from zskd_onnx.importer.operators.block_convolution import block_convolution, block_side, block_weight
from zskd_onnx.importer.operators.convolution import conv
from zskd_onnx.importer.operators.pooling import max_pool


def fuse_pooling(module: fx.GraphModule) -> fx.GraphModule:
    """Fuse each Conv, Relu, MaxPool of 2 x 2 into one node, if block convolution is faster there.

    The maximum is taken before the ReLU, which gives the same values and gradients. A node is
    fused only if nothing else reads its value. The Relu is optional.

    Args:
        module: an imported module; it is not changed.

    Returns:
        A module that computes the same and shares its weights, or ``module`` itself if nothing
        can be fused.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    fused = ImportedModel(module, graph, class_name="ImportedModel")
    changed = False
    for node in list(graph.nodes):
        before = _single_reader(node.args[0]) if node.target is max_pool and _halves(node) else None
        rectified = before is not None and before.target is relu
        convolution = _single_reader(before.args[0]) if before is not None and rectified else before
        if convolution is None or convolution.target is not conv or not _pays_in_blocks(fused, convolution):
            continue
        inputs: Any = convolution.args
        weight = fused.get_buffer(str(inputs[1].target))
        side, name = block_side(weight, pool=True), f"{node.name}_blocks"
        while hasattr(fused, name):  # a weight of the file may have this name
            name += "_"
        fused.register_buffer(name, block_weight(weight, side, pool=True))
        padding: Any = convolution.kwargs.get("pads") or (0, 0)
        with graph.inserting_before(node):
            arguments = (*inputs, *[None] * (3 - len(inputs)), graph.get_attr(name))
            keywords: dict[str, Any] = {"side": side, "pads": tuple(padding[:2]), "rectified": rectified}
            replacement = graph.call_function(pooled_convolution, arguments, keywords)
        node.replace_all_uses_with(replacement)
        changed = True
    if not changed:
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
    """A convolution with strides of 1, then the maximum of each 2 x 2 positions, then ReLU.

    Args:
        x: (N, C, H, W).
        weight: (M, C, *kernel).
        bias: (M,), or None.
        blocks: the weight as ``block_weight`` makes it for blocks of ``side`` x ``side``.
        side: side of a block.
        pads: zeros on both sides of each spatial axis.
        rectified: whether to apply ReLU.

    Returns:
        (N, M, *out), where ``out`` is half the size of the convolution's result, rounded down.
    """
    if x.requires_grad and x.is_cpu:
        y = block_convolution(x, blocks, bias, weight.shape[2:], pads, side, pool=True)
    else:
        y = _halve(F.conv2d(x, weight, bias, padding=tuple(pads)))
    return F.relu(y) if rectified else y


def _halve(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H/2, W/2), rounded down: the maximum of each 2 x 2 positions.

    torch's pooling on CPUs vectorises over channels. For few channels and without a gradient, the
    maximum of four slices takes a ninth of the time.
    """
    if not x.is_cpu:
        return F.max_pool2d(x, 2)
    height, width = (n // 2 * 2 for n in x.shape[2:])
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


def _single_reader(value: Any) -> fx.Node | None:
    """The node itself if exactly one other node reads its value, else None."""
    return value if isinstance(value, fx.Node) and len(value.users) == 1 else None


def _halves(pool: fx.Node) -> bool:
    """Whether a MaxPool has a window of 2 x 2, strides of 2, and no padding, dilation or indices."""
    keywords: Any = pool.kwargs
    return bool(
        tuple(keywords["kernel_shape"]) == tuple(keywords.get("strides") or ()) == (2, 2)
        and not any(keywords.get("pads") or ())
        and set(keywords.get("dilations") or ()) <= {1}
        and keywords.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and not keywords.get("ceil_mode")
        and keywords["num_outputs"] == 1
    )


def _pays_in_blocks(module: fx.GraphModule, convolution: fx.Node) -> bool:
    """Whether a convolution can be computed in blocks, and is faster that way."""
    keywords: Any = convolution.kwargs
    constant = convolution.args[1]
    if not isinstance(constant, fx.Node) or constant.op != "get_attr":
        return False
    weight = attrgetter(str(constant.target))(module)
    if isinstance(weight, nn.Parameter):  # the stored blocks would not change with it
        return False
    pads = keywords.get("pads") or (0, 0, 0, 0)
    return bool(
        weight.ndim == 4
        and keywords.get("group", 1) == 1
        and set(keywords.get("strides") or ()) | set(keywords.get("dilations") or ()) <= {1}
        and keywords.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and pads[:2] == pads[2:]
        and min(pads) >= 0
        and block_side(weight, pool=True) > 1
    )
