"""A run that fits into the time that a user has."""

from __future__ import annotations

import re
from dataclasses import replace

from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.time_synthesis import time_synthesis

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

SYNTHESIS_SHARE = 0.3
"""Largest part of the time that is left for samples; the rest trains the student."""

FEWEST = 500
"""Smallest number of samples."""

MEASURED = 2.0
"""Seconds in which samples are made to measure how long they take."""

HELD_OUT = 0.2
"""Largest part of the samples that is held out."""

RESERVE, RESERVED_SHARE = 8.0, 0.02
"""Seconds, and a part of the budget, that are kept for the start of the program, the export, its checks and the report."""


def parse_budget(text: str | float) -> float:
    """Seconds of a duration such as "90s", "10m" or "2h", or of a number of seconds.

    Raises:
        UsageError: it cannot be read.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) *([a-z]*)", str(text).strip().lower(), flags=re.ASCII)
    unit = None if match is None else UNITS.get(match[2] or "s")
    if match is None or unit is None or not float(match[1]):
        raise UsageError(f"--time-budget '{text}': expected a duration such as 90s, 10m or 2h")
    return float(match[1]) * unit


def training_seconds(budget: float) -> float:
    """The part of a budget in which samples are made and the student is trained."""
    return max(0.0, budget - RESERVE - RESERVED_SHARE * budget)


def fit_synthesis(plan: Plan, seconds: float, requested: int | None) -> Plan:
    """The plan with as many samples as fit into their part of the time.

    Training needs no plan: its schedule follows the clock, see ``Pace``.

    Args:
        seconds: that are left for samples and training.
        requested: number of samples of a run that continues, which stays; None for a new run.
    """
    recipe, synthesis = plan.recipe, plan.recipe.synthesis
    if synthesis is None:
        return plan
    full = synthesis.count + recipe.held_out
    total = requested
    if total is None:
        expected = time_synthesis(plan, MEASURED).usual
        total = min(full, max(FEWEST, int(full * SYNTHESIS_SHARE * seconds / max(expected, 1e-9))))
    if total >= full:
        return plan
    held_out = min(recipe.held_out, int(HELD_OUT * total))
    # With fewer samples, an epoch shows each of them more often: the steps stay, and the clock cuts them.
    stages = {
        name: stage.model_copy(update={"epoch_samples": stage.epoch_samples or synthesis.count})
        for name, stage in recipe.stages.items()
    }
    fitted = recipe.model_copy(
        update={
            "synthesis": synthesis.model_copy(update={"count": total - held_out}),
            "held_out": held_out,
            **{name.replace("-", "_"): stage for name, stage in stages.items()},
        }
    )
    note = f"to fit the time, {total - held_out:,} samples are synthesised; the recipe makes {synthesis.count:,}"
    return replace(plan, recipe=fitted, notes=(*plan.notes, note))
