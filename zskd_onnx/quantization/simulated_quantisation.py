"""Rounding to 8 bits within a float network, which gradients pass unchanged.

Quantisation-aware training after Jacob et al. (2018) and Krishnamoorthi (2018): the forward pass rounds, and the backward
pass takes rounding for the identity (straight-through estimator).
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from zskd_onnx.importer.fx_graph import VALUE
from zskd_onnx.importer.state_names import free_attribute
from zskd_onnx.quantization.quantised_tensors import QuantisedTensors, Scale

LARGEST_WEIGHT = 64
"""Weights are integers from -64 to 64, see ``to_integers``."""

LARGEST_ACTIVATION = 255
"""Activations are integers from 0 to 255."""


class RoundedWeight(nn.Module):
    """Rounds a weight. The largest absolute value of each output channel gives its scale."""

    def __init__(self, axis: int | None) -> None:
        """``axis``: of the output channels; None for one scale."""
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight, of the same shape."""
        bounds = -LARGEST_WEIGHT, LARGEST_WEIGHT
        size = weight.detach().abs()
        if self.axis is None:
            scale = _step(size.amax().reshape(1), LARGEST_WEIGHT)
            return torch.fake_quantize_per_tensor_affine(weight, scale, _zero(scale), *bounds)
        axis = self.axis % weight.ndim
        scale = _step(size.amax([i for i in range(weight.ndim) if i != axis]), LARGEST_WEIGHT)
        return torch.fake_quantize_per_channel_affine(weight, scale, _zero(scale), axis, *bounds)


class RoundedActivation(nn.Module):
    """Rounds an activation.

    Attributes:
        calibrated: the scale; None takes the lowest and highest value of each batch, which follow the weights as they
            are trained.
    """

    def __init__(self, calibrated: Scale | None = None) -> None:
        super().__init__()
        self.calibrated = calibrated

    def forward(self, x: Tensor) -> Tensor:
        """The rounded activation, of the same shape."""
        if self.calibrated is not None:
            scale = torch.full((1,), self.calibrated.step, device=x.device)
            zero = torch.full((1,), self.calibrated.zero_point, dtype=torch.int32, device=x.device)
        else:
            low, high = (value.reshape(1) for value in torch.aminmax(x.detach()))
            low, high = low.clamp(max=0), high.clamp(min=0)
            scale = _step(high - low, LARGEST_ACTIVATION)
            zero = (-low / scale).round().clamp(0, LARGEST_ACTIVATION).int()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, LARGEST_ACTIVATION)


def _step(width: Tensor, steps: int) -> Tensor:
    """Scales at which so many steps cover the widths; 1 where there is nothing to cover."""
    return torch.where(width > 0, (width / steps).clamp_min(torch.finfo(width.dtype).tiny), torch.ones_like(width))


def _zero(scale: Tensor) -> Tensor:
    return torch.zeros_like(scale, dtype=torch.int32)


def simulate_quantisation(module: fx.GraphModule, tensors: QuantisedTensors, *, calibrated: bool = False) -> None:
    """Round weights and activations of an imported module where the quantised model rounds them, in place.

    Args:
        module: an import of the float model.
        tensors: those that the quantised model rounds. Values that the import has fused away are not rounded.
        calibrated: whether activations have the quantised model's scales, instead of those of each batch.
    """
    for node in list(module.graph.nodes):
        name = node.meta.get(VALUE)
        if node.op == "get_attr" and name in tensors.weights:
            _round(module, node, RoundedWeight(tensors.weights[name]))
        elif node.op != "get_attr" and name in tensors.activations:
            _round(module, node, RoundedActivation(tensors.activations[name] if calibrated else None))
    module.graph.lint()
    module.recompile()


def _round(module: fx.GraphModule, node: fx.Node, rounding: nn.Module) -> None:
    """Let all readers of a node read its rounded value."""
    target = free_attribute(module, f"{node.name}_rounded")
    module.add_module(target, rounding)
    with module.graph.inserting_after(node):
        rounded = module.graph.call_module(target, (node,))
    node.replace_all_uses_with(rounded, delete_user_cb=lambda reader: reader is not rounded)
