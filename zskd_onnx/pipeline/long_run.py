"""A note before a run that takes long, with the ways to shorten it."""

from __future__ import annotations

from zskd_onnx.pipeline.estimate import estimate
from zskd_onnx.pipeline.plan import Plan

LONG = 3600.0
"""Seconds from which a run is long."""

SECONDS = 1.0
"""Seconds for the measurement of each stage; the note needs no narrow range."""

FEW_PASSES, LITTLE_WORK = 1000, 1e13
"""A run of fewer passes and steps, with fewer multiply-adds of the teacher, is not timed: the few passes that an estimate takes would
be a part of its duration."""


def long_run_note(plan: Plan, *, has_transfer_set: bool) -> str | None:
    """The expected duration of a run and the options that shorten it, or None for a run of less than an hour.

    Args:
        has_transfer_set: whether the transfer set exists, so that nothing is synthesised.
    """
    recipe, synthesis = plan.recipe, None if has_transfer_set else plan.recipe.synthesis
    if _is_short(plan):
        return None
    expected = estimate(plan, SECONDS, has_transfer_set=has_transfer_set)
    seconds = expected.seconds
    total = sum(seconds.values())
    if total < LONG:
        return None
    share = LONG / total
    options = [] if synthesis is None else [f"--set synthesis.count={_rounded(share * synthesis.count)}"]
    if recipe.distillation.epochs > 1:
        options.append(f"--set distillation.epochs={_rounded(share * recipe.distillation.epochs)}")
    is_procedural = recipe.sources(plan.data is not None) == ("procedural",)
    if len(plan.teacher.domain.shape) > 1 and not is_procedural and "data" not in recipe.requires:
        options.append("--recipe procedural")
    bound = "up to" if expected.at_most else "about"
    stages = ", ".join(f"{stage} {value / 3600:.1f} h" for stage, value in seconds.items())
    ways = f"; to shorten it, give {' or '.join(options)}" if options else ""
    return f"this run will take {bound} {total / 3600:.1f} h in all ({stages}){ways}"


def _is_short(plan: Plan) -> bool:
    """Whether the synthesis and the training have few passes, and little work."""
    recipe, synthesis = plan.recipe, plan.recipe.synthesis
    stored = 0 if plan.data is None else len(plan.data.inputs)
    passes = samples = 0
    if synthesis is not None:
        stored += synthesis.count
        passes = synthesis.count // synthesis.effective_batch_size * synthesis.passes
        samples = passes * synthesis.effective_batch_size
    for stage in recipe.stages.values():
        passes += stage.steps(stored)
        samples += stage.steps(stored) * stage.batch_size
    return passes < FEW_PASSES and samples * plan.teacher.cost.multiply_adds < LITTLE_WORK


def _rounded(value: float) -> int:
    """A number with two digits that count, 1 or more."""
    return max(1, int(float(f"{value:.1e}")))
