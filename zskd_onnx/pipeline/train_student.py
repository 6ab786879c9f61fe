"""The training of a run's student, stage by stage."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.data.npz import EvaluationData
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.distillation.batches import StoredSamples
from zskd_onnx.distillation.checkpoint import Checkpoint
from zskd_onnx.distillation.precision import choose_precision
from zskd_onnx.distillation.selection import Metric, StudentSelection
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.distillation.train import train
from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.events import Event, Listener
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.metrics.classification import accuracy
from zskd_onnx.metrics.compare import Comparison, compare
from zskd_onnx.pipeline.fingerprint import training_fingerprint
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.training_samples import (
    as_trained,
    holds_out_real_samples,
    shown_samples,
    split_samples,
    stage_sources,
)
from zskd_onnx.students.activations import ActivationRecorder
from zskd_onnx.students.choose import build
from zskd_onnx.students.inserted_normalisation import fold_normalisation, insert_normalisation, is_normalised
from zskd_onnx.students.matched_blocks import BlockProbe, BlockRecorder, Remaining
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.students.pruning.inherit import inherit
from zskd_onnx.system.process_group import wait_for_all
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.outputs import BATCH, TeacherView
from zskd_onnx.teacher.probes.probe import activation_maps_probe, features_probe
from zskd_onnx.teacher.signature.domain import Domain

PRUNING_SAMPLES = 4096
"""Samples on which the teacher's channels are judged."""

NORMALISATION_BATCH = 256
"""Samples of a batch from which the statistics of inserted normalisations are measured."""

PRECISION_SAMPLES = 256
"""Samples on which the teacher's answers in bfloat16 are compared with those in float32."""

STAGES = ("distillation", "fine-tuning")


@dataclass(frozen=True)
class TrainedStudent:
    """A trained student, and what training measured.

    Attributes:
        student: in inference mode, on the plan's device.
        comparison: with the teacher, on held-out samples.
        held_out: those samples, (N, *shape) in the unit space.
        history: stage -> its validations, see ``StudentSelection.history``.
        chosen: stage -> the step whose weights were kept.
    """

    student: nn.Module
    comparison: Comparison
    held_out: Tensor
    history: dict[str, list[dict[str, Any]]]
    chosen: dict[str, int]


def train_student(
    plan: Plan, samples: Samples | None, checkpoint: Path, listener: Listener, deadline: float | None = None
) -> TrainedStudent:
    """Build and train the plan's student.

    Args:
        samples: the transfer set, or None.
        checkpoint: file for the state of training; the caller removes it once the student is saved.
        deadline: seconds of ``time.monotonic`` at which training ends if it has not before; None for no limit.
    """
    recipe, teacher = plan.recipe, plan.teacher
    stored, held_out = split_samples(plan, samples)
    student, remaining = new_student(plan, stored, listener)
    student = student.to(plan.device)
    state = Checkpoint(checkpoint, training_fingerprint(plan, student, samples))
    saved = state.load(plan.device)
    wait_for_all()  # until they have read the state, which rank 0 writes again
    stages = [
        (name, settings)
        for name, settings in zip(STAGES, (recipe.distillation, recipe.fine_tuning), strict=True)
        if settings is not None
    ]
    history: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, int] = {}
    if saved is not None and saved["stage"] == "fine-tuning":
        stages = stages[1:]
        history, chosen = saved["earlier"]["history"], saved["earlier"]["chosen"]
    generator: GeneratorTraining | None = None
    growing = not len(held_out)
    real = holds_out_real_samples(plan, samples)
    if isinstance(student, OnnxStudent):
        normalise(plan, student, stored, listener)
    elif plan.pruned and saved is None:
        listener(Event("note", "distillation", "pruning the teacher's channels to the student's widths"))
        _prune(plan, student, stored, stages[0][1])

    def steps_of(settings: Distillation) -> int:
        return settings.steps(sum(len(part.inputs) for part in stored))

    for stage, settings in stages:
        state.earlier = {"history": dict(history), "chosen": dict(chosen)}
        view, recorder = stage_views(plan, student, remaining, settings, listener)
        steps = steps_of(settings)
        precision = stage_precision(plan, view, stored, settings)
        if precision == torch.bfloat16:
            listener(Event("note", stage, "convolutions are computed in bfloat16"))
        sources = stage_sources(plan, stored, settings, view, steps, generator)
        selection = StudentSelection(
            teacher,
            as_trained(plan, held_out, settings, "held out", real=real) if len(held_out) else held_out,
            accuracy_metric(plan.evaluation, teacher.domain, plan.device),
            temperature=settings.temperature,
            growing=growing,
        )
        train(
            student,
            sources,
            view,
            settings,
            steps,
            recipe.seed,
            recorder=recorder,
            selection=selection,
            checkpoint=state,
            stage=stage,
            deadline=_deadline_of(stage, {name: steps_of(each) for name, each in stages}, deadline),
            precision=precision,
            listener=listener,
        )
        generator = sources.generator or generator
        if not len(held_out):
            held_out = selection.held_out
        if not len(held_out) and generator is not None:
            held_out = generator.samples(recipe.held_out, "held out").cpu()
        history[stage], chosen[stage] = selection.history, selection.chosen
    if isinstance(student, OnnxStudent):
        fold_normalisation(student)
    return TrainedStudent(student, compare(student, teacher, held_out), held_out, history, chosen)


def stage_precision(plan: Plan, view: TeacherView, stored: list[StoredSamples], settings: Distillation) -> torch.dtype:
    """The number type of a training stage, see ``choose_precision``."""
    return choose_precision(
        settings.precision, view, shown_samples(plan, stored, settings, "precision", PRECISION_SAMPLES)
    )


def _deadline_of(stage: str, steps: dict[str, int], deadline: float | None) -> float | None:
    """The end of a stage, if this and later stages share the time that is left by their steps."""
    if deadline is None:
        return None
    now = time.monotonic()
    left = sum(list(steps.values())[list(steps).index(stage) :])
    return now + max(0.0, deadline - now) * steps[stage] / left


def _prune(plan: Plan, student: nn.Module, stored: list[StoredSamples], settings: Distillation) -> None:
    """Initialise the student with those of the teacher's channels that matter for the samples of its training."""
    inherit(
        student,
        plan.teacher,
        _pruning_samples(plan, stored, settings),
        rng_for(plan.recipe.seed, "inherit", "positions"),
    )


def new_student(plan: Plan, stored: list[StoredSamples], listener: Listener) -> tuple[nn.Module, Remaining]:
    """The untrained student, and the channels that remain of the teacher's where it is thinned from them.

    Such a student gets the channels that matter for the samples of its training.
    """
    recipe, teacher = plan.recipe, plan.teacher
    if plan.choice.thinned is None or not plan.pruned:
        return build(plan.choice, teacher.domain.shape, teacher.classes, recipe.seed), {}
    if plan.by_norm:
        return plan.choice.thinned.build()
    samples = _pruning_samples(plan, stored, recipe.distillation).float()

    def on_progress(share: float) -> None:
        listener(Event("progress", "pruning", completed=round(100 * share), total=100))

    listener(Event("note", "pruning", "choosing the channels of the teacher's graph that remain"))
    built = plan.choice.thinned.build(samples, recipe.seed, on_progress)
    listener(Event("done", "pruning", "channels chosen", 100, 100))
    return built


def normalise(plan: Plan, student: OnnxStudent, stored: list[StoredSamples], listener: Listener) -> None:
    """Insert normalisation behind convolutions that have none; where the user's own weights were trained with some, none."""
    if plan.recipe.init == "file" and is_normalised(student):
        return
    samples = _pruning_samples(plan, stored, plan.recipe.distillation)
    count = insert_normalisation(student, samples.split(NORMALISATION_BATCH))
    if count:
        listener(Event("note", "distillation", f"{count} convolutions are normalised while the student is trained"))


def _pruning_samples(plan: Plan, stored: list[StoredSamples], settings: Distillation) -> Tensor:
    """Samples as the student will be trained on, to judge the teacher's channels by."""
    return shown_samples(plan, stored, settings, "inherit", plan.at_most(PRUNING_SAMPLES))


def stage_views(
    plan: Plan, student: nn.Module, remaining: Remaining, settings: Distillation, listener: Listener
) -> tuple[TeacherView, ActivationRecorder | BlockRecorder | None]:
    """Teacher and student with what the losses of a stage compare."""
    if isinstance(student, OnnxStudent):
        return _block_views(plan, student, remaining, settings)
    return _views(plan, student, settings, listener)


def _block_views(
    plan: Plan, student: OnnxStudent, remaining: Remaining, settings: Distillation
) -> tuple[TeacherView, BlockRecorder | None]:
    """Teacher and student with the outputs of their blocks, where these correspond."""
    if not remaining or not settings.loss_weights.blocks:
        return TeacherView(plan.teacher), None
    probe = BlockProbe(plan.teacher, remaining)
    sample = torch.zeros((1, *plan.teacher.domain.shape), device=plan.device)
    return TeacherView(plan.teacher, blocks=probe), BlockRecorder(student, probe.values, sample)


def _views(
    plan: Plan, student: nn.Module, settings: Distillation, listener: Listener
) -> tuple[TeacherView, ActivationRecorder | None]:
    """Teacher and student with the activations that the stage's loss terms compare."""
    teacher, weights = plan.teacher, settings.loss_weights

    def leave_out(term: str, why: str) -> None:
        listener(Event("note", "distillation", f"{term} is left out: {why}"))

    maps = None
    if weights.attention:
        try:
            maps = activation_maps_probe(teacher)
        except UnsupportedTeacherError:
            leave_out("attention transfer", "the teacher has no activation map of a convolution")
    features = features_probe(teacher) if weights.features and teacher.head is not None else None
    if maps is None and not weights.features:
        return TeacherView(teacher), None
    sizes = () if maps is None else maps.sizes
    recorder = ActivationRecorder(student, teacher.domain.shape, sizes=sizes, features=features is not None)
    if maps is not None and not recorder.sizes:
        leave_out("attention transfer", "no activation map of the student has the spatial size of one of the teacher's")
        maps = None
    if weights.features and recorder.features is None:
        side = "teacher" if features is None else "student"
        leave_out("feature distillation", f"the {side} has no final fully connected layer")
        features = None
    return TeacherView(teacher, maps, recorder.sizes, features), recorder


def accuracy_metric(data: EvaluationData | None, domain: Domain, device: torch.device) -> Metric | None:
    """The accuracy of a student on the evaluation data; it is recorded and selects nothing."""
    if data is None:
        return None
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)

    @torch.no_grad()
    def measure(student: nn.Module) -> float:
        return accuracy(torch.cat([student(domain.to_unit(part.to(device))).cpu() for part in x.split(BATCH)]), y)

    return measure
