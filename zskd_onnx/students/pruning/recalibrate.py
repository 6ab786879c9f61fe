"""Recalibration of a student's batch normalisations to the statistics of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.students.pruning.torch_chain import BATCH_NORMS


@torch.no_grad()
def recalibrate(student: nn.Module, parts: Sequence[Tensor]) -> None:
    """Set the running statistics of each batch normalisation to those of its inputs, in place.

    Scale and shift are adapted, so the student computes the same function in inference mode. In training
    mode batches are normalised by their own statistics. With other running statistics the student would
    start training as a different function.

    Args:
        parts: samples (N, *shape) of the unit space, in batches that fit into the device's memory.
    """
    device = next(student.parameters()).device
    norms: list[Any] = [module for module in student.modules() if isinstance(module, BATCH_NORMS)]
    sums: dict[nn.Module, list[Tensor]] = {module: [] for module in norms}

    def record_sums(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].double().transpose(0, 1).flatten(1)
        sums[module].append(torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(1), x.square().sum(1)]))

    hooks = [module.register_forward_pre_hook(record_sums) for module in norms]
    training = student.training
    student.eval()
    try:
        for part in parts if norms else ():
            student(part.to(device, torch.float32))
    finally:
        student.train(training)
        for hook in hooks:
            hook.remove()
    for norm in filter(sums.get, norms):  # the forward pass may leave one out
        count, total, squares = torch.stack(sums[norm]).sum(0)
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - scale * norm.running_mean
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
