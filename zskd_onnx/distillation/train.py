"""The training loop of a student."""

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
from zskd_onnx.distillation.pace import Pace
from zskd_onnx.distillation.precision import computing_in
from zskd_onnx.distillation.selection import StudentSelection
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.events import Event, Listener
from zskd_onnx.losses import FeatureLoss, attention_loss, block_loss, soft_target_loss
from zskd_onnx.students.activations import ActivationRecorder
from zskd_onnx.students.matched_blocks import BlockRecorder
from zskd_onnx.system.interrupts import deferred_interrupts
from zskd_onnx.system.process_group import from_rank_0, share_weights, sum_gradients, together, wait_for_all
from zskd_onnx.system.randomness import seed_for
from zskd_onnx.system.ranks import ranks
from zskd_onnx.system.synchronised_normalisation import synchronised_normalisation
from zskd_onnx.teacher.probes.outputs import Outputs, TeacherView

EVENT_STEPS = 20
"""Steps between two progress events."""

MILESTONES, DECAY = (0.3, 0.6, 0.8), 0.2
"""Schedule "steps": shares of the steps after which the learning rate is multiplied by the decay."""

Forward = Callable[[Tensor], Outputs]
"""From samples (N, *shape) in the unit space to the student's outputs."""


def train(
    student: nn.Module,
    sources: Sources,
    view: TeacherView,
    settings: Distillation,
    steps: int,
    seed: int,
    *,
    recorder: ActivationRecorder | BlockRecorder | None = None,
    selection: StudentSelection | None = None,
    checkpoint: Checkpoint | None = None,
    stage: str = "distillation",
    deadline: float | None = None,
    precision: torch.dtype = torch.float32,
    listener: Listener,
) -> None:
    """Train a student in place. It ends in inference mode with the selected weights.

    Args:
        student: maps (N, *shape) in the unit space to logits (N, K).
        sources: of the batches.
        view: the teacher.
        steps: number of optimiser steps.
        recorder: runs the student where its activation maps, features or blocks are compared with the teacher's.
        selection: selects the best state of the student; None keeps the last.
        checkpoint: file for the state of training; a state of this stage in it is continued.
        stage: "distillation" or "fine-tuning".
        deadline: seconds of ``time.monotonic`` at which training ends if it has not before, see ``Pace``.
        precision: see ``choose_precision``.
    """
    device = next(student.parameters()).device
    if len(view.teacher.domain.shape) == 3:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    feature_loss = _feature_loss(recorder, view, settings, seed, device)
    parameters = [*student.parameters(), *([] if feature_loss is None else feature_loss.parameters())]
    optimiser = _optimiser(parameters, settings)
    schedule = _schedule(optimiser, settings, steps)
    state = _State(student, optimiser, schedule, sources, selection, feature_loss, stage)
    leads = ranks().leads
    forward: Forward = recorder or (lambda x: Outputs(student(x)))
    interval = math.ceil(steps / settings.validations) if selection is not None and settings.validations else steps + 1
    student.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "dropout" if stage == "distillation" else f"dropout, {stage}"))
        first = state.load(checkpoint, device)
        if selection is not None and settings.validations and leads and selection.needs_first_validation(stage):
            selection.validate(student, 0)  # a later student may not be better
        wait_for_all()  # until they have read the state, which rank 0 writes again
        if checkpoint is not None and leads and not first:
            state.save(checkpoint, 0)  # so that an earlier stage is not trained again
        share_weights(student)
        batches = sources.batches(
            range(first, steps), steps, view, settings.augmentation, seed, student, stage, precision
        )
        step = first
        pace = Pace(steps, deadline, schedule.last_epoch)
        figures: dict[str, Any] = {}
        if first < steps:
            listener(Event("progress", stage, completed=pace.position, total=steps))  # the first step may take long
        with deferred_interrupts() as interrupts:
            for step, batch in enumerate(batches, first + 1):
                with computing_in(precision, device), synchronised_normalisation():
                    outputs = forward(batch.x)
                loss = _loss(outputs.float(), batch, settings, feature_loss)
                optimiser.zero_grad()
                (loss * (len(batch.x) / batch.whole) if together() else loss).backward()
                signals = sum_gradients(parameters, (pace.next_move() if leads else 0, interrupts.pending))
                if settings.grad_clip is not None:
                    nn.utils.clip_grad_norm_(parameters, settings.grad_clip)
                optimiser.step()
                due, moves = pace.position // interval, round(signals[0])
                pace.move(moves)
                for _ in range(moves):
                    schedule.step()
                validated = selection is not None and (
                    pace.position // interval > due or (pace.ended and settings.validations)
                )
                if selection is not None and validated and leads:
                    figures = _validate(selection, sources, student, step)
                if step % EVENT_STEPS == 0 or pace.ended:
                    values = {"loss": round(float(loss.detach()), 6), **figures}
                    try:
                        listener(Event("progress", stage, completed=pace.position, total=steps, figures=values))
                    except BaseException:  # a listener may end the run, and loses no step
                        if checkpoint is not None:
                            state.save(checkpoint, step)
                        raise
                if checkpoint is not None and leads and (checkpoint.due or interrupts.pending or signals[1]):
                    state.save(checkpoint, step)
                interrupts.deliver()
                exhausted = selection is not None and selection.exhausted(settings.patience)
                if settings.patience is not None and validated:
                    exhausted = from_rank_0(exhausted)
                if pace.ended or exhausted:
                    break
            if checkpoint is not None and leads:
                state.save(checkpoint, steps)
    if selection is not None:
        selection.restore(student)
    share_weights(student)  # the selected ones
    student.eval()
    listener(Event("done", stage, f"{step:,} steps", steps, steps))


def _feature_loss(
    recorder: ActivationRecorder | BlockRecorder | None,
    view: TeacherView,
    settings: Distillation,
    seed: int,
    device: torch.device,
) -> FeatureLoss | None:
    """The feature loss, where it has a weight and both sides have features."""
    head = view.teacher.head
    if not settings.loss_weights.features or not isinstance(recorder, ActivationRecorder):
        return None
    if recorder.features is None or head is None:
        return None
    return FeatureLoss(recorder.features, head.weight.shape[1], seed).to(device)


def _loss(student: Outputs, batch: Batch, settings: Distillation, feature_loss: FeatureLoss | None) -> Tensor:
    """The soft-target loss, and with their weights the losses of labels, attention and features."""
    teacher, weights = batch.outputs, settings.loss_weights
    loss = soft_target_loss(student.logits, teacher.logits, settings.temperature)
    if weights.labels:
        labelled = F.cross_entropy(student.logits, batch.labels, ignore_index=NO_LABEL, reduction="sum")
        loss = loss + weights.labels * labelled / (batch.labels != NO_LABEL).sum().clamp_min(1)
    if weights.attention and student.maps:
        loss = loss + weights.attention * attention_loss(student.maps, teacher.maps)
    if weights.blocks and student.blocks:
        loss = loss + weights.blocks * block_loss(student.blocks, teacher.blocks)
    if feature_loss is not None and student.features is not None and teacher.features is not None:
        loss = loss + weights.features * feature_loss(student.features, teacher.features)
    return loss


def _validate(selection: StudentSelection, sources: Sources, student: nn.Module, step: int) -> dict[str, Any]:
    """Validate the student; where a generator is the only source, it first adds held-out samples."""
    if sources.generator is not None and selection.growing:
        count = max(1, sources.generator.batch_size // 2)
        selection.add(sources.generator.samples(count, "check", step))
    entry = selection.validate(student, step)
    return {"held_out_loss": entry["loss"], "agreement": entry["agreement"]}


def _optimiser(parameters: list[nn.Parameter], settings: Distillation) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay, nesterov=True, fused=True)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=True)


def _schedule(optimiser: torch.optim.Optimizer, settings: Distillation, steps: int) -> LRScheduler:
    if settings.schedule == "one_cycle" and steps > 1:  # a cycle of one step has a rate next to zero
        cycle_momentum = settings.optimiser == "adamw"  # SGD keeps its momentum
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=steps, cycle_momentum=cycle_momentum
        )
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    if settings.schedule == "steps":
        milestones = [round(share * steps) for share in MILESTONES]
        return torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, DECAY)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)


class _State:
    """Everything that training changes."""

    def __init__(
        self,
        student: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: LRScheduler,
        sources: Sources,
        selection: StudentSelection | None,
        feature_loss: FeatureLoss | None,
        stage: str,
    ) -> None:
        self.parts: dict[str, Any] = {"student": student, "optimiser": optimiser, "schedule": schedule}
        if sources.generator is not None:
            self.parts["generator"] = sources.generator
        if selection is not None:
            self.parts["selection"] = selection
        if feature_loss is not None:
            self.parts["feature_loss"] = feature_loss
        self.stage = stage

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        checkpoint.save(self.stage, {"step": step, "random": torch.get_rng_state(), **state})

    def load(self, checkpoint: Checkpoint | None, device: torch.device) -> int:
        """Restore the saved state of this stage; returns its number of steps, 0 without one."""
        saved = None if checkpoint is None else checkpoint.load(device)
        if saved is None or saved["stage"] != self.stage:
            return 0
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        torch.set_rng_state(saved["random"].cpu())
        return int(saved["step"])
