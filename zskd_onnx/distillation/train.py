"""Training the student on what the teacher says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from zskd_onnx.distillation.batches import NO_LABEL, Batch, Sources
from zskd_onnx.distillation.checkpoint import Checkpoint
from zskd_onnx.distillation.hints import Hints
from zskd_onnx.distillation.selection import Checks
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.events import Event, Listener
from zskd_onnx.losses import attention_loss, soft_target_loss
from zskd_onnx.students.activations import Observed
from zskd_onnx.system.interrupts import deferred_interrupt
from zskd_onnx.system.randomness import seed_for
from zskd_onnx.teacher.probes.outputs import Answer, Asking

EVENT_STEPS = 20
STEPS, STEP = (0.3, 0.6, 0.8), 0.2
"""Shares of the steps after which "steps" takes so much of the rate."""

Run = Callable[[Tensor], Answer]
"""A student that answers as the teacher does."""


def distil(
    student: nn.Module,
    sources: Sources,
    ask: Asking,
    settings: Distillation,
    steps: int,
    seed: int,
    *,
    observed: Observed | None = None,
    checks: Checks | None = None,
    checkpoint: Checkpoint | None = None,
    stage: str = "distillation",
    listener: Listener,
) -> None:
    """Train a student in place; it ends in inference mode, with the weights that the checks chose.

    Args:
        student: maps (N, *shape) in the unit space to logits (N, K).
        sources: where batches come from.
        ask: the teacher.
        steps: of the optimiser.
        observed: runs the student where its blocks or features are compared with those of ``ask``.
        checks: chooses among the student's states; without it, the last stays.
        checkpoint: where the state is kept; what it holds of this stage is taken up again.
        stage: "distillation" or "fine-tuning".
    """
    device = next(student.parameters()).device
    if len(ask.teacher.domain.shape) == 3:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    hints = _hints(observed, ask, settings, seed, device)
    trained = [*student.parameters(), *([] if hints is None else hints.parameters())]
    optimiser = _optimiser(trained, settings)
    schedule = _schedule(optimiser, settings, steps)
    state = _State(student, optimiser, schedule, sources, checks, hints, stage)
    run: Run = observed or (lambda x: Answer(student(x)))
    every = math.ceil(steps / settings.checks) if checks is not None and settings.checks else steps + 1
    student.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "dropout" if stage == "distillation" else f"dropout, {stage}"))
        begin = state.load(checkpoint, device)
        if checks is not None and settings.checks and checks.begins(stage):
            checks.measure(student, 0)  # perhaps no later one is better
        if checkpoint is not None and not begin:
            state.save(checkpoint, 0)  # an earlier stage is not trained again
        todo = sources.batches(range(begin, steps), steps, ask, settings.augmentation, seed, student, stage)
        step = begin
        figures: dict[str, Any] = {}
        with deferred_interrupt() as interrupted:
            for step, batch in enumerate(todo, begin + 1):
                loss = _loss(run(batch.x), batch, settings, hints)
                optimiser.zero_grad()
                loss.backward()
                if settings.clip is not None:
                    nn.utils.clip_grad_norm_(trained, settings.clip)
                optimiser.step()
                schedule.step()
                if checks is not None and (step % every == 0 or (step == steps and settings.checks)):
                    figures = _check(checks, sources, student, step)
                if step % EVENT_STEPS == 0 or step == steps:
                    seen = {"loss": round(float(loss.detach()), 6), **figures}
                    listener(Event("progress", stage, completed=step, total=steps, figures=seen))
                if checkpoint is not None and (checkpoint.due or interrupted()):
                    state.save(checkpoint, step)
                if interrupted():
                    raise KeyboardInterrupt
                if checks is not None and checks.exhausted(settings.patience):
                    break
        if checkpoint is not None:
            state.save(checkpoint, steps)
    if checks is not None:
        checks.restore(student)
    student.eval()
    listener(Event("done", stage, f"{step:,} steps", steps, steps))


def _hints(
    observed: Observed | None, ask: Asking, settings: Distillation, seed: int, device: torch.device
) -> Hints | None:
    """The map between features, where hints are asked for and both sides have features."""
    head = ask.teacher.head
    if not settings.hints or observed is None or observed.features is None or head is None:
        return None
    return Hints(observed.features, head.weight.shape[1], seed).to(device)


def _loss(ours: Answer, batch: Batch, settings: Distillation, hints: Hints | None) -> Tensor:
    """Soft targets, and where they are asked for, real labels, attention and hints."""
    theirs = batch.answer
    loss = soft_target_loss(ours.logits, theirs.logits, settings.temperature)
    if settings.labels:
        missed = F.cross_entropy(ours.logits, batch.labels, ignore_index=NO_LABEL, reduction="sum")
        loss = loss + settings.labels * missed / (batch.labels != NO_LABEL).sum().clamp_min(1)
    if settings.attention and ours.blocks:
        loss = loss + settings.attention * attention_loss(ours.blocks, theirs.blocks)
    if hints is not None and ours.features is not None and theirs.features is not None:
        loss = loss + settings.hints * hints(ours.features, theirs.features)
    return loss


def _check(checks: Checks, sources: Sources, student: nn.Module, step: int) -> dict[str, Any]:
    """Measure the student; a generator first gives some samples, where there are no others."""
    if sources.generator is not None and checks.growing:
        samples = max(1, sources.generator.batch_size // 2)
        checks.add(sources.generator.samples(samples, "check", step))
    found = checks.measure(student, step)
    return {"held_out_loss": found["loss"], "agreement": found["agreement"]}


def _optimiser(trained: list[nn.Parameter], settings: Distillation) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(trained, rate, momentum=0.9, weight_decay=decay, nesterov=True, fused=True)
    return torch.optim.AdamW(trained, rate, weight_decay=decay, fused=True)


def _schedule(optimiser: torch.optim.Optimizer, settings: Distillation, steps: int) -> LRScheduler:
    if settings.schedule == "one_cycle" and steps > 1:  # of one step the cycle has the beginning alone, next to 0
        cycles = settings.optimiser == "adamw"  # the first moment's share goes the other way; SGD's momentum stays
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=steps, cycle_momentum=cycles
        )
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    if settings.schedule == "steps":
        ends = [round(share * steps) for share in STEPS]
        return torch.optim.lr_scheduler.MultiStepLR(optimiser, ends, STEP)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)


class _State:
    """Everything that training changes."""

    def __init__(
        self,
        student: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: LRScheduler,
        sources: Sources,
        checks: Checks | None,
        hints: Hints | None,
        stage: str,
    ) -> None:
        self.parts: dict[str, Any] = {"student": student, "optimiser": optimiser, "schedule": schedule}
        if sources.generator is not None:
            self.parts["generator"] = sources.generator
        if checks is not None:
            self.parts["checks"] = checks
        if hints is not None:
            self.parts["hints"] = hints
        self.stage = stage

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        checkpoint.save(self.stage, {"step": step, "random": torch.get_rng_state(), **state})

    def load(self, checkpoint: Checkpoint | None, device: torch.device) -> int:
        """Take up what was saved of this stage; how many steps that had."""
        saved = None if checkpoint is None else checkpoint.load(device)
        if saved is None or saved["stage"] != self.stage:
            return 0
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        torch.set_rng_state(saved["random"].cpu())
        return int(saved["step"])
