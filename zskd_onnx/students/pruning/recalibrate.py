"""Statistics of a student's batch normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.students.pruning.torch_chain import BATCH_NORMS


@torch.no_grad()
def recalibrate(student: nn.Module, parts: Sequence[Tensor]) -> None:
    """Give each batch normalisation the statistics of what it meets, and a scale and a shift with which it does as before.

    In inference mode nothing changes. In training mode, where batches are normalised by their own statistics, a student
    with others would begin as another function.

    Args:
        parts: samples (N, *shape) of the unit space, in batches that the device has room for.
    """
    place = next(student.parameters()).device
    norms: list[Any] = [module for module in student.modules() if isinstance(module, BATCH_NORMS)]
    seen: dict[nn.Module, list[Tensor]] = {module: [] for module in norms}

    def keep(module: nn.Module, given: tuple[Any, ...]) -> None:
        x = given[0].double().transpose(0, 1).flatten(1)
        seen[module].append(torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(1), x.square().sum(1)]))

    hooks = [module.register_forward_pre_hook(keep) for module in norms]
    training = student.training
    student.eval()
    try:
        for part in parts if norms else ():
            student(part.to(place, torch.float32))
    finally:
        student.train(training)
        for hook in hooks:
            hook.remove()
    for norm in filter(seen.get, norms):  # one may have no part in the forward pass
        count, total, squares = torch.stack(seen[norm]).sum(0)
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - scale * norm.running_mean
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
