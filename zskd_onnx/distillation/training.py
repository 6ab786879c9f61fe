"""Training the student on what the teacher says of the transfer set."""

from __future__ import annotations

import math

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.losses import soft_target_loss
from zskd_onnx.events import Event, Listener
from zskd_onnx.randomness import generator_for, seed_for
from zskd_onnx.settings import Settings
from zskd_onnx.teacher import Teacher
from zskd_onnx.workers import in_order

EVENT_STEPS = 20


class Distillation(Settings):
    """How the student is trained (ZSKD, eq. 2, without labels).

    Attributes:
        epochs: passes over the transfer set.
        batch_size: samples in a step.
        learning_rate: the peak of a one-cycle schedule for Adam (Smith & Topin 2018).
        temperature: tau of the soft targets.
        augmentation: what happens to a batch before both nets see it.
    """

    epochs: PositiveInt = 50
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 0.01
    weight_decay: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 1.0
    augmentation: Augmentation = Augmentation()

    def steps(self, samples: int) -> int:
        """Optimiser steps for a transfer set of so many samples."""
        return self.epochs * max(1, math.ceil(samples / self.batch_size))


def distil(
    student: nn.Module, teacher: Teacher, inputs: Tensor, settings: Distillation, seed: int, listener: Listener
) -> None:
    """Train a student in place; it ends in inference mode.

    The teacher answers what the student sees: soft targets are recomputed on every augmented
    batch, so no answer belongs to an image that has changed since.

    Args:
        student: maps (N, *shape) in the unit space to logits (N, K).
        inputs: the transfer set, (N, *shape) in the unit space, on the CPU.
    """
    device = next(student.parameters()).device
    if inputs.ndim == 4:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = settings.steps(len(inputs))
    size = min(settings.batch_size, len(inputs))
    order = _order(len(inputs), size, steps, seed)

    @torch.no_grad()
    def ask(step: int) -> tuple[Tensor, Tensor]:
        """What the student sees in a step, and the teacher's logits for it."""
        x = inputs[order[step]].to(device, torch.float32)
        x = settings.augmentation.apply(x, generator_for(seed, "augmentation", step, device=device))
        return x, teacher.logits(teacher.domain.to_file(x)).float()

    optimiser = torch.optim.AdamW(
        student.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    student.train()
    # The teacher answers on other threads while the student learns on this one.
    workers = torch.get_num_threads() // 2 if device.type == "cpu" else 0
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "dropout"))
        for step, (x, answer) in enumerate(in_order(ask, range(steps), workers), 1):
            loss = soft_target_loss(student(x), answer, settings.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % EVENT_STEPS == 0 or step == steps:
                figures = {"loss": round(float(loss.detach()), 6)}
                listener(Event("progress", "distillation", completed=step, total=steps, figures=figures))
    student.eval()
    listener(Event("done", "distillation", f"{steps:,} steps", steps, steps))


def _order(samples: int, size: int, steps: int, seed: int) -> Tensor:
    """Which samples each step takes, (steps, size): one shuffle after another, end to end."""
    generator = generator_for(seed, "order")
    passes = -(-steps * size // samples)
    shuffled = torch.cat([torch.randperm(samples, generator=generator) for _ in range(passes)])
    return shuffled[: steps * size].view(steps, size)


@torch.no_grad()
def agreement(student: nn.Module, teacher: Teacher, inputs: Tensor) -> float:
    """Share of inputs on which both name the same class.

    Args:
        inputs: (N, *shape) in the unit space.
    """
    device = next(student.parameters()).device
    same = 0
    for part in inputs.split(512):
        x = part.to(device, torch.float32)
        same += int((student(x).argmax(1) == teacher.logits(teacher.domain.to_file(x)).argmax(1)).sum())
    return same / len(inputs)
