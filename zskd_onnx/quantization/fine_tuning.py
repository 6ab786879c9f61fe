"""Quantisation-aware fine-tuning: the float network teaches its own simulation in 8 bits."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from zskd_onnx.events import Event, Listener
from zskd_onnx.losses import soft_target_loss
from zskd_onnx.quantization.quantised_tensors import quantised_tensors
from zskd_onnx.quantization.simulated_quantisation import simulate_quantisation
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.teacher import Teacher

BATCH, TEMPERATURE, WARM_UP = 32, 4.0, 0.1
"""Samples of a step, temperature of the soft targets, and share of the steps in which the learning rate rises."""

LEARNING_RATES = (2e-3, 2e-4, 2e-5)
"""Peak of the learning rate, and those that are tried in turn where the loss rises: few rates suit all files."""

EVENT_STEPS = 20
"""Steps between two progress events."""


def fine_tune(
    model: onnx.ModelProto,
    quantised: onnx.ModelProto,
    classifier: Teacher,
    unit: Tensor,
    steps: int,
    seed: int,
    device: torch.device,
    listener: Listener,
) -> onnx.ModelProto:
    """A float model whose weights are trained for quantisation; its logits before are the soft targets.

    Batch normalisation that is not folded keeps its statistics.

    Args:
        model: from ``prepare``; it stays as it is.
        quantised: the same from ``to_integers``; it says which tensors are rounded.
        classifier: what the model computes.
        unit: calibration samples (N, *shape) in the unit space.

    Raises:
        ZskdError: the model cannot be trained, or its weights became infinite.
    """
    with torch.no_grad():
        network = OnnxStudent(model, classifier).to(device).eval()
        targets = torch.cat([network(part.to(device).float()) for part in unit.split(BATCH)])
    tensors = quantised_tensors(model, quantised)
    for rate in LEARNING_RATES:
        network = OnnxStudent(model, classifier).to(device).eval()
        simulate_quantisation(network.scores, tensors)
        if _train(network, unit.to(device), targets, rate, steps, seed, listener):
            break
    listener(Event("done", "quantisation", f"{steps:,} steps", steps, steps))
    return network.to_file()


def _train(
    network: OnnxStudent, unit: Tensor, targets: Tensor, rate: float, steps: int, seed: int, listener: Listener
) -> bool:
    """Train a network in place; whether the loss fell. It ends early if the loss is higher after a quarter of the steps."""
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=max(steps, 2), pct_start=WARM_UP, cycle_momentum=False
    )
    rng, before = rng_for(seed, "quantisation-aware fine-tuning"), _loss(network, unit, targets)
    for step in range(1, steps + 1):
        rows = torch.randint(len(unit), (min(BATCH, len(unit)),), generator=rng).to(unit.device)
        loss = soft_target_loss(network(unit[rows].float()), targets[rows], TEMPERATURE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % EVENT_STEPS == 0 or step == steps:
            figures = {"loss": round(float(loss.detach()), 6)}
            listener(Event("progress", "quantisation", completed=step, total=steps, figures=figures))
        if step == steps // 4 and not _loss(network, unit, targets) < before:
            return False
    return _loss(network, unit, targets) < before


@torch.no_grad()
def _loss(network: OnnxStudent, unit: Tensor, targets: Tensor) -> float:
    """Mean loss on all samples."""
    parts = zip(unit.split(BATCH), targets.split(BATCH), strict=True)
    losses = [len(x) * float(soft_target_loss(network(x.float()), target, TEMPERATURE)) for x, target in parts]
    return sum(losses) / len(unit)
