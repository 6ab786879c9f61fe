"""The transfer set of a run: made, continued, or taken from an earlier run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from zskd_onnx.data.transfer_set import INDEX, Samples, TransferSet
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Listener
from zskd_onnx.pipeline.fingerprint import transfer_set_fingerprint
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.synthesis.base import Logits
from zskd_onnx.synthesis.fill import fill

OF_TEACHER = {"teacher_sha256": "teacher", "fixed_inputs": "constant of --fix", "domain": "input domain"}
"""Parts of a fingerprint that belong to the teacher, in words."""

TrainBetween = Callable[[Samples], Logits]
"""From the samples of the rounds so far to a student that was trained on them."""


def make_transfer_set(plan: Plan, folder: Path, train_between: TrainBetween, listener: Listener) -> Samples:
    """Make the transfer set of a run, or the part of it that is missing or damaged.

    Args:
        folder: of the transfer set.
        train_between: trains the student that competing rounds are made against (Adaptive DeepInversion).
    """
    recipe, synthesis = plan.recipe, plan.recipe.synthesis
    assert synthesis is not None
    exists = (folder / INDEX).is_file()
    transfer_set = TransferSet.open(folder) if exists else TransferSet.create(folder, transfer_set_fingerprint(plan))
    transfer_set.request(synthesis.count + recipe.held_out)
    count = student = None
    for number in range(1, synthesis.rounds + 1):
        before, count = count, synthesis.count * number // synthesis.rounds + recipe.held_out
        if transfer_set.count >= count and not transfer_set.damaged(count):
            continue
        if before is not None:
            student = train_between(transfer_set.load(before))
        fill(
            transfer_set,
            plan.teacher,
            recipe.prior,
            synthesis,
            count,
            recipe.seed,
            plan.device,
            listener,
            images=plan.images,
            student=student,
        )
    return transfer_set.load(count)


def check_same_run(folder: Path, plan: Plan) -> None:
    """Raise UsageError if a folder holds the transfer set of another run."""
    if (folder / INDEX).is_file() and TransferSet.open(folder).identity != transfer_set_fingerprint(plan):
        raise UsageError(
            f"{folder}: made from another teacher, recipe or seed, or against another student; --overwrite starts anew"
        )


def reuse(folder: Path, plan: Plan) -> tuple[Plan, Samples]:
    """The transfer set of an earlier run on the same teacher, whatever recipe made it.

    Returns:
        The plan, with a note where that run was interrupted, and the samples that the run used.

    Raises:
        UsageError: it was made for another teacher or domain, it is too small, or the recipe uses none.
    """
    if plan.recipe.synthesis is None:
        raise UsageError(f"recipe '{plan.recipe.name}' uses no transfer set; remove --transfer-set")
    transfer_set = TransferSet.open(folder)
    for key, value in transfer_set_fingerprint(plan).items():
        if key in OF_TEACHER and transfer_set.identity.get(key) != value:
            raise UsageError(f"{folder}: made for another {OF_TEACHER[key]}; remove --transfer-set")
    samples = transfer_set.load(transfer_set.requested)
    if len(samples.inputs) <= plan.recipe.held_out:
        raise UsageError(
            f"{folder}: has {len(samples.inputs)} samples, expected more than the {plan.recipe.held_out} held-out ones; "
            "complete it with --resume"
        )
    if transfer_set.requested is not None and transfer_set.count < transfer_set.requested:
        note = (
            f"{folder}: has {transfer_set.count:,} of {transfer_set.requested:,} samples, because the run that makes it was "
            "interrupted; to use all, first complete that run with --resume"
        )
        plan = replace(plan, notes=(*plan.notes, note))
    return plan, samples
