"""An estimate of a run: its duration, from timing a part of each stage, and the memory and disk space that it takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from zskd_onnx.pipeline.footprint import Footprint, footprint
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.time_span import NOTHING
from zskd_onnx.pipeline.time_synthesis import time_synthesis
from zskd_onnx.pipeline.time_training import time_training
from zskd_onnx.system.processor_share import processor_share

SECONDS = 3.0
"""Seconds for the measurement of each stage."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take on this machine.

    Attributes:
        seconds: stage -> seconds, from the usual speed of the measurement.
        ranges: stage -> the smallest and the largest expected number of seconds: of a machine that has nothing else to do, and of
            one that gets busier. On a busy machine they are further apart, see ``Span.in_a_run``.
        at_most: stages whose estimate is an upper bound, because training may end early.
        footprint: memory and disk space.
    """

    seconds: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    at_most: tuple[str, ...]
    footprint: Footprint


def estimate(plan: Plan, seconds: float = SECONDS, *, has_transfer_set: bool = False) -> Estimate:
    """Make a part of the samples and of the training steps, and extrapolate.

    Args:
        seconds: for the measurement of each stage, about.
        has_transfer_set: whether the samples are those of an earlier run, so that none are made.
    """
    synthesis = None if has_transfer_set else plan.recipe.synthesis
    before = processor_share()
    spans = {} if synthesis is None else {"synthesis": time_synthesis(plan, seconds)}
    training = time_training(plan, seconds)
    share = statistics.fmean([before, processor_share()]) if plan.device.type == "cpu" else 1.0
    if synthesis is not None and synthesis.rounds > 1:
        # Students between competing rounds are trained on 1/n, 2/n, ... of the set.
        spans["synthesis"] += sum(training.values(), NOTHING) * ((synthesis.rounds - 1) / 2)
    spans |= training
    return Estimate(
        {stage: round(span.usual, 1) for stage, span in spans.items()},
        {stage: span.in_a_run(share) for stage, span in spans.items()},
        _upper_bounds(plan, has_transfer_set=has_transfer_set),
        footprint(plan, has_transfer_set=has_transfer_set),
    )


def _upper_bounds(plan: Plan, *, has_transfer_set: bool) -> tuple[str, ...]:
    patient = [name.replace("_", "-") for name, stage in plan.recipe.stages.items() if stage.patience is not None]
    synthesis = None if has_transfer_set else plan.recipe.synthesis
    if synthesis is not None and (synthesis.ends_early or (synthesis.rounds > 1 and patient)):
        return ("synthesis", *patient)
    return tuple(patient)
