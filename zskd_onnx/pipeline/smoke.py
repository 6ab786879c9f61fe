"""A smoke run: every stage of a run at toy size, in a folder that is removed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar

from zskd_onnx.data.npz import EvaluationData
from zskd_onnx.data.real_samples import RealSamples
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.channel_work import channel_work
from zskd_onnx.pipeline.check_output import check_output
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.synthesis.base import Synthesis

BATCH_WORK = 1.5e10
"""Most multiply-adds of the teacher for a batch, about a second with gradients on one core."""

SMALLEST_BATCH, LARGEST_BATCH = 4, 128
"""Bounds of the batch size; some networks cannot normalise batches of one sample."""

CHANNEL_WORK = 2e11
"""Most multiply-adds of the choice of channels, about ten seconds; beyond it, their norms choose."""

GENERATED_BATCH = 8
"""Smallest batch where a generator makes a part of it."""

STEPS, ITERATIONS = 4, 2
"""Steps of each training stage, and iterations of a synthesis."""

SLOTS = 10
"""A synthesis whose samples stop one by one makes ten batches together, so that its batch is a tenth."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_scratch_folder(run: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function, which with ``smoke=True`` writes into a temporary folder that is removed, and not to ``output``.

    The output folder is checked as for a run that writes to it.

    Raises:
        UsageError: the run may not write to ``output``, or is to be resumed.
    """
    signature = inspect.signature(run)

    @wraps(run)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        call = signature.bind(*args, **kwargs)
        if not call.arguments.get("smoke"):
            return run(*args, **kwargs)
        if call.arguments.get("resume"):
            raise UsageError("--smoke and --resume exclude each other; give one of them")
        check_output(Path(call.arguments["output"]), overwrite=bool(call.arguments.get("overwrite")))
        with TemporaryDirectory(prefix="zskd-smoke-") as scratch:
            call.arguments["output"] = Path(scratch)
            return run(*call.args, **call.kwargs)

    return wrapper


def toy_plan(plan: Plan) -> Plan:
    """The plan with toy sizes, which follow the cost of teacher and student; no gate is left.

    A minute is enough for a classifier of four billion multiply-adds on one core.
    """
    recipe = plan.recipe
    cost = max(plan.teacher.cost.multiply_adds, plan.multiply_adds, 1)
    smallest = GENERATED_BATCH if recipe.generator is not None else SMALLEST_BATCH
    batch = int(min(LARGEST_BATCH, max(smallest, BATCH_WORK // cost)))
    changes: dict[str, Any] = {
        name: stage.model_copy(
            update={
                "epochs": 1,
                "epoch_samples": STEPS * batch,
                "batch_size": batch,
                "validations": min(stage.validations, 1),
            }
        )
        for name, stage in recipe.stages.items()
    }
    if recipe.synthesis is not None:
        changes["synthesis"] = _toy_synthesis(recipe.synthesis, batch)
    changes["deployment"] = recipe.deployment.model_copy(
        update={
            **{"min_agreement": 0.0, "min_accuracy": 0.0, "max_accuracy_drop": None, "max_latency_ratio": None},
            "min_quantized_agreement": 0.0,
        }
    )
    return replace(
        plan,
        recipe=recipe.model_copy(update={**changes, "held_out": batch}),
        data=None if plan.data is None else _some_real(plan.data, 4 * batch),
        evaluation=None if plan.evaluation is None else _some_labelled(plan.evaluation, 2 * batch),
        smoke_of=recipe,
        most_samples=2 * batch,
        by_norm=channel_work(plan) > CHANNEL_WORK,
    )


def toy_samples(plan: Plan, samples: Samples) -> Samples:
    """As many samples of a transfer set as a toy plan takes."""
    synthesis = plan.recipe.synthesis
    assert synthesis is not None
    count = synthesis.count + plan.recipe.held_out
    return Samples(samples.inputs[:count], samples.targets[:count])


def _toy_synthesis(synthesis: Synthesis, batch: int) -> Synthesis:
    size = max(1, batch // SLOTS) if synthesis.ends_early else batch
    toy = {"count": batch, "batch_size": size, "iterations": ITERATIONS, "competing_rounds": 1}
    fields = {name: getattr(synthesis, name) for name in toy if hasattr(synthesis, name)}
    return synthesis.model_copy(update={name: min(toy[name], value) for name, value in fields.items()})


def _some_real(data: RealSamples, count: int) -> RealSamples:
    return replace(data, inputs=data.inputs[:count], labels=None if data.labels is None else data.labels[:count])


def _some_labelled(data: EvaluationData, count: int) -> EvaluationData:
    """Samples from the first to the last, because files are often sorted by class."""
    rows = slice(None, None, -(-len(data.x) // count))
    return replace(data, x=data.x[rows], y=data.y[rows])
