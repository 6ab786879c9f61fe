"""An estimate of a run's duration, from timing a few passes of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.losses import soft_target_loss
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.students.choose import build
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.outputs import TeacherView

TIMING = 5.0
"""Seconds of calls after which a duration is known well enough."""

MULTIPLY_ADDS = 2e10
"""Work of the teacher in one timed call, about a second; of a costly teacher's batch only a part is timed."""


@dataclass(frozen=True)
class Estimate:
    """Estimated duration of a run.

    Attributes:
        seconds: stage -> seconds.
        at_most: stages whose estimate is an upper bound, because samples or training may end early.
    """

    seconds: dict[str, float]
    at_most: tuple[str, ...]


def estimate(plan: Plan) -> Estimate:
    """Time a few passes of synthesis and of each training stage, and extrapolate."""
    recipe, view = plan.recipe, TeacherView(plan.teacher.to(plan.device))
    shape = plan.teacher.domain.shape
    student = build(plan.choice, shape, plan.teacher.classes, recipe.seed).to(plan.device)
    rng = rng_for(recipe.seed, "estimate", device=plan.device)

    def batch_seconds(work: Callable[[Tensor], None], size: int) -> float:
        part = int(min(size, max(1, MULTIPLY_ADDS / max(1, plan.teacher.cost.multiply_adds))))
        x = torch.rand((part, *shape), generator=rng, device=plan.device)
        return _median_seconds(partial(work, x)) * size / part

    def synthesise(x: Tensor) -> None:
        torch.autograd.grad(view.logits(x.requires_grad_()).sum(), x)

    def distil(settings: Distillation, samples: Tensor) -> None:
        x = settings.augmentation.apply(samples, rng)
        if plan.images is not None and (count := round(len(x) * plan.images.share)):
            x[:count] = plan.images.draw(count, rng)
        with torch.no_grad():
            teacher_logits = view.logits(x)
        soft_target_loss(student(x), teacher_logits, settings.temperature).backward()

    seconds: dict[str, float] = {}
    stored = 0 if plan.data is None else len(plan.data.inputs)
    synthesis = recipe.synthesis
    if synthesis is not None:
        size = synthesis.effective_batch_size
        passes = -(-(synthesis.count + recipe.held_out) // size) * synthesis.passes
        seconds["synthesis"] = round(passes * batch_seconds(synthesise, size), 1)
        stored += synthesis.count
    for stage, settings in (("distillation", recipe.distillation), ("fine-tuning", recipe.fine_tuning)):
        if settings is not None:
            step = batch_seconds(partial(distil, settings), settings.batch_size)
            seconds[stage] = round(settings.steps(stored) * (step + _generator_seconds(plan, settings, student)), 1)
    if synthesis is not None:
        # Students between competing rounds are trained on 1/n, 2/n, ... of the set.
        between = (synthesis.rounds - 1) / 2
        seconds["synthesis"] += between * sum(seconds.get(stage, 0.0) for stage in ("distillation", "fine-tuning"))
    return Estimate(seconds, _upper_bounds(plan))


def _upper_bounds(plan: Plan) -> tuple[str, ...]:
    recipe = plan.recipe
    stages = {"distillation": recipe.distillation, "fine-tuning": recipe.fine_tuning}
    patient = [name for name, stage in stages.items() if stage is not None and stage.patience is not None]
    synthesis = recipe.synthesis
    if synthesis is not None and (synthesis.ends_early or (synthesis.rounds > 1 and patient)):
        return ("synthesis", *patient)
    return tuple(patient)


def _generator_seconds(plan: Plan, settings: Distillation, student: nn.Module) -> float:
    """Seconds that a generator adds to each step of the student."""
    recipe = plan.recipe
    images = 0.0 if plan.images is None else plan.images.share
    size = settings.shares(recipe.sources(plan.data is not None), images).get("generator", 0)
    if recipe.generator is None or not size:
        return 0.0
    training = GeneratorTraining(
        recipe.generator,
        plan.teacher,
        TeacherView(plan.teacher),
        batch=size,
        steps=recipe.generator.student_steps,
        seed=recipe.seed,
        device=plan.device,
    )

    def iterate() -> None:
        for step in range(training.settings.student_steps):
            training.batch(step, student)

    return _median_seconds(iterate) / training.settings.student_steps


def _median_seconds(work: Callable[[], None]) -> float:
    """Median duration of five calls after one to warm up; calls that take long are not repeated."""
    times: list[float] = []
    while len(times) < 6 and sum(times) < TIMING:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    times = sorted(times[1:] or times)
    return times[len(times) // 2]
