"""The transfer set of a run: made, continued, or taken from an earlier run."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import INDEX, Samples, TransferSet
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Listener
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.train_student import digest, learn
from zskd_onnx.synthesis.fill import fill

LEARNING = {"student", "init", "data", "generator", "distillation", "fine_tuning", "held_out"}
"""What of a recipe the students between rounds depend on."""

MADE_FOR = {"teacher_sha256": "teacher", "fixed_inputs": "constant of --fix", "domain": "input domain"}


def identity(plan: Plan) -> dict[str, Any]:
    """What a transfer set depends on, its size left out: a larger one begins with the smaller."""
    made_by = recipe_identity(plan.recipe)
    if "learning" in made_by:
        real = None if plan.data is None else [digest(plan.data.inputs), digest(plan.data.labels)]
        made_by["learning"] |= {"student": student_identity(plan.choice.name), "samples": real}
    return plan.teacher.identity | made_by


def recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe a transfer set depends on; where it is made in rounds, how students learn between them too."""
    assert recipe.synthesis is not None
    found = recipe.model_dump(mode="json", include={"prior", "synthesis", "seed"})
    if recipe.synthesis.rounds == 1:
        found["synthesis"].pop("count")  # otherwise it says where rounds end
    else:
        found["learning"] = recipe.model_dump(mode="json", include=LEARNING)
    return found


def student_identity(name: str) -> str:
    """A student's name; of a file of the user's, what it holds in the place of where it lies."""
    place, _, factory = name.rpartition(":")
    if not place.endswith(".py") or not Path(place).is_file():
        return name
    return f"{hashlib.sha256(Path(place).read_bytes()).hexdigest()}:{factory}"


def synthesise(plan: Plan, folder: Path, checkpoint: Path, listener: Listener) -> Samples:
    """Make the transfer set, or what is missing of it.

    Args:
        checkpoint: for the students between rounds, where the synthesis has several.
    """
    recipe, synthesis = plan.recipe, plan.recipe.synthesis
    assert synthesis is not None
    there = (folder / INDEX).is_file()
    transfer_set = TransferSet.open(folder) if there else TransferSet.create(folder, identity(plan))
    transfer_set.want(synthesis.count + recipe.held_out)
    count = student = None
    for part in range(1, synthesis.rounds + 1):
        before, count = count, synthesis.count * part // synthesis.rounds + recipe.held_out
        if transfer_set.count >= count:
            continue
        if before is not None:
            student = _student_between(plan, transfer_set.load(before), checkpoint, listener)
        fill(
            transfer_set,
            plan.teacher,
            recipe.prior,
            synthesis,
            count,
            recipe.seed,
            plan.device,
            listener,
            student=student,
        )
    return transfer_set.load(count)


def _student_between(plan: Plan, samples: Samples, checkpoint: Path, listener: Listener) -> nn.Module:
    """A student of the rounds before; the plan's own stays as it is."""
    apart = replace(plan, student=copy.deepcopy(plan.student).to(plan.device), evaluation=None)
    learn(apart, samples, checkpoint, listener)
    return apart.student


def check_same_run(folder: Path, plan: Plan) -> None:
    """Refuse to continue another run's transfer set, before anything of that run is touched."""
    if (folder / INDEX).is_file() and TransferSet.open(folder).identity != identity(plan):
        raise UsageError(
            f"{folder}: made from another teacher, recipe or seed, or against another student; --overwrite starts anew"
        )


def reuse(folder: Path, plan: Plan) -> tuple[Plan, Samples]:
    """The transfer set of an earlier run on the same teacher, whatever recipe made it.

    Returns:
        The plan, with a note where that run was interrupted, and the samples that the run takes itself.

    Raises:
        UsageError: it was made for another teacher or domain, or it is too small; or the recipe takes none.
    """
    if plan.recipe.synthesis is None:
        raise UsageError(f"recipe '{plan.recipe.name}' uses no transfer set; leave --transfer-set out")
    transfer_set = TransferSet.open(folder)
    for key, value in identity(plan).items():
        if key in MADE_FOR and transfer_set.identity.get(key) != value:
            raise UsageError(f"{folder}: made for another {MADE_FOR[key]}; leave --transfer-set out")
    samples = transfer_set.load(transfer_set.wanted)
    if len(samples.inputs) <= plan.recipe.held_out:
        raise UsageError(
            f"{folder}: holds {len(samples.inputs)} samples, expected more than the {plan.recipe.held_out} held out; "
            "finish it with --resume"
        )
    if transfer_set.wanted is not None and transfer_set.count < transfer_set.wanted:
        note = (
            f"{folder}: holds {transfer_set.count:,} of {transfer_set.wanted:,} samples, for the run that makes it was "
            "interrupted; the student learns from these alone unless that run is finished first, with --resume"
        )
        plan = replace(plan, notes=(*plan.notes, note))
    return plan, samples
