"""The duration of training, from a few of its steps and one validation on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.data.npz import EvaluationData
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.distillation.batches import Batch, Sources, StoredSamples
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.distillation.train import train
from zskd_onnx.events import silent
from zskd_onnx.metrics.compare import compare
from zskd_onnx.pipeline.channel_work import channel_work
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.time_span import Span
from zskd_onnx.pipeline.time_synthesis import WORK_OF_A_SECOND
from zskd_onnx.pipeline.train_student import (
    PRUNING_SAMPLES,
    accuracy_metric,
    new_student,
    normalise,
    stage_precision,
    stage_views,
)
from zskd_onnx.pipeline.training_samples import split_samples, stage_sources
from zskd_onnx.students.matched_blocks import Remaining
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.students.pruning.optimal_brain_surgeon import mean_products
from zskd_onnx.system.process_group import working_alone
from zskd_onnx.system.randomness import rng_for

SMALLEST_BATCH = 4
MOST_STEPS = 200
"""Steps after which their duration is known well enough."""

FEWEST_STEPS = 2

MEASURED = 64
"""Samples on which validation is timed, fewer where the teacher is costly."""

ROWS, INPUTS = 2000, 512
"""Size of the matrix with which the speed of double precision is measured."""


def time_training(plan: Plan, seconds: float) -> dict[str, Span]:
    """The duration of each training stage of a plan; the first one includes the student's initialisation.

    The steps are those of the run: its losses, inserted normalisation, worker threads, augmentation and generator. Random samples
    stand for the transfer set, and of costly teachers a part of each batch is timed.

    Args:
        seconds: for the steps of each stage; two steps are made at least.
    """
    plan.teacher.to(plan.device)
    measured = replace(plan, by_norm=True, most_samples=MEASURED)
    batch = max(stage.batch_size for stage in plan.recipe.stages.values())
    part = int(min(batch, max(SMALLEST_BATCH, WORK_OF_A_SECOND // max(1, plan.teacher.cost.multiply_adds))))
    samples = None if plan.recipe.synthesis is None else _stand_in(plan, 4 * part)
    stored, held_out = split_samples(_with_held_out(measured, min(part, MEASURED)), samples)
    begin = time.perf_counter()
    student, remaining = new_student(measured, stored, silent)
    student = student.to(plan.device)
    if isinstance(student, OnnxStudent):
        normalise(measured, student, stored, silent)
    start = time.perf_counter() - begin + _channel_seconds(plan)
    if not len(held_out):
        held_out = _random(plan, min(part, MEASURED))
    validation, forward = _validation_seconds(plan, student, held_out)
    start += forward * _pruning_samples(plan, stored) if plan.pruned else 0.0
    count = (0 if plan.data is None else len(plan.data.inputs)) + (
        0 if plan.recipe.synthesis is None else plan.recipe.synthesis.count
    )
    spans: dict[str, Span] = {}
    for name, settings in plan.recipe.stages.items():
        step = _step_seconds(measured, student, remaining, stored, settings, min(part, settings.batch_size), seconds)
        once = (settings.validations + 1) * validation + start
        spans[name.replace("_", "-")] = step * settings.steps(count) + Span(once, once, once)
        start = 0.0
    return spans


def _with_held_out(plan: Plan, count: int) -> Plan:
    return replace(plan, recipe=plan.recipe.model_copy(update={"held_out": count}))


def _stand_in(plan: Plan, count: int) -> Samples:
    """Random samples in the form in which a transfer set is loaded."""
    inputs = _random(plan, count + MEASURED).half()
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return Samples(inputs, torch.zeros((len(inputs), plan.teacher.classes)))


def _random(plan: Plan, count: int) -> Tensor:
    return torch.rand((count, *plan.teacher.domain.shape), generator=rng_for(plan.recipe.seed, "estimate"))


def _pruning_samples(plan: Plan, stored: list[StoredSamples]) -> int:
    """Number of samples on which the teacher's channels are judged."""
    present = plan.recipe.synthesis.count if plan.recipe.synthesis is not None else sum(len(s.inputs) for s in stored)
    return min(PRUNING_SAMPLES, present or PRUNING_SAMPLES)


def _channel_seconds(plan: Plan) -> float:
    """The time of the choice of channels, from the speed of one product of its kind."""
    work = channel_work(plan)
    if not work:
        return 0.0
    rows = torch.ones((ROWS, INPUTS))
    begin = time.perf_counter()
    mean_products(rows)
    return (time.perf_counter() - begin) * work / (ROWS * INPUTS**2)


def _validation_seconds(plan: Plan, student: nn.Module, held_out: Tensor) -> tuple[float, float]:
    """Seconds of one validation, and of teacher and student on one sample."""
    student.eval()
    begin = time.perf_counter()
    compare(student, plan.teacher, held_out)
    forward = (time.perf_counter() - begin) / len(held_out)
    seconds = forward * plan.recipe.held_out
    if plan.evaluation is not None:
        few = EvaluationData(plan.evaluation.x[: len(held_out)], plan.evaluation.y[: len(held_out)])
        metric = accuracy_metric(few, plan.teacher.domain, plan.device)
        assert metric is not None
        begin = time.perf_counter()
        metric(student)
        seconds += (time.perf_counter() - begin) / len(few.x) * len(plan.evaluation.x)
    return seconds, forward


def _step_seconds(
    plan: Plan,
    student: nn.Module,
    remaining: Remaining,
    stored: list[StoredSamples],
    settings: Distillation,
    part: int,
    seconds: float,
) -> Span:
    """The duration of a step of a stage; ``part`` is the number of samples in a step that is timed."""
    smaller = settings.model_copy(update={"batch_size": part})
    view, recorder = stage_views(plan, student, remaining, smaller, silent)
    sources = stage_sources(plan, stored, smaller, view, MOST_STEPS, None)
    timed = TimedSources(**vars(sources), end=time.monotonic() + seconds)
    with working_alone():
        train(
            student,
            timed,
            view,
            smaller,
            MOST_STEPS,
            plan.recipe.seed,
            recorder=recorder,
            precision=stage_precision(plan, view, stored, smaller),
            listener=silent,
        )
    first, *later = (after - before for before, after in zip(timed.times, timed.times[1:], strict=False))
    span = Span.of(later[1:] or later or [first])
    generator = plan.recipe.generator
    if sources.generator is not None and generator is not None and len(later) < 2 * generator.student_steps:
        span += Span(*[max(0.0, first - span.usual) / generator.student_steps] * 3)
    return span * (settings.batch_size / part)


@dataclass(frozen=True)
class TimedSources(Sources):
    """Sources that record when each batch is taken, and end when the time is up.

    Attributes:
        end: seconds of ``time.monotonic``.
        times: seconds of ``time.perf_counter``: of the first request, and then of each batch.
    """

    end: float = 0.0
    times: list[float] = field(default_factory=list)

    def batches(self, *arguments: Any, **options: Any) -> Iterator[Batch]:
        """See ``Sources.batches``."""
        self.times.append(time.perf_counter())
        for batch in super().batches(*arguments, **options):
            self.times.append(time.perf_counter())
            yield batch
            if len(self.times) > FEWEST_STEPS and time.monotonic() > self.end:
                return
