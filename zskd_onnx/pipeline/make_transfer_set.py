"""The transfer set of a run: made, continued, or taken from an earlier run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from zskd_onnx.data.copy_set import copy_index
from zskd_onnx.data.remote_folder import absolute_location, is_url
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
    transfer_set = TransferSet.join(folder, transfer_set_fingerprint(plan))
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


def with_batches_of(folder: Path, plan: Plan) -> Plan:
    """The plan with the batch size of a set that is continued: another device has another one by default."""
    synthesis = plan.recipe.synthesis
    if synthesis is None or not (folder / INDEX).is_file():
        return plan
    recorded = TransferSet.open(folder).identity.get("synthesis")
    size = recorded.get("batch_size") if isinstance(recorded, dict) else None
    if not isinstance(size, int) or size < 1:
        return plan
    changed = synthesis.model_copy(update={"batch_size": size})
    return replace(plan, recipe=plan.recipe.model_copy(update={"synthesis": changed}))


def check_same_run(folder: Path, plan: Plan) -> None:
    """Raise UsageError if a folder holds the transfer set of another run."""
    if (folder / INDEX).is_file() and TransferSet.open(folder).identity != transfer_set_fingerprint(plan):
        raise UsageError(
            f"{folder}: made from another teacher, recipe or seed, or against another student; --overwrite starts anew"
        )


def check_reusable(location: str | Path, plan: Plan) -> Plan:
    """Check by its index alone whether a run can use the transfer set of an earlier run, in a folder or at a URL.

    Returns:
        The plan, with a note where that run was interrupted.

    Raises:
        UsageError: it was made for another teacher or domain, it is too small, or the recipe uses none.
    """
    if plan.recipe.synthesis is None:
        raise UsageError(f"recipe '{plan.recipe.name}' uses no transfer set; remove --transfer-set")
    if is_url(place := absolute_location(location)):
        with tempfile.TemporaryDirectory() as folder:
            transfer_set = copy_index(place, Path(folder))
    else:
        transfer_set = TransferSet.open(Path(place))
    for key, value in transfer_set_fingerprint(plan).items():
        if key in OF_TEACHER and transfer_set.identity.get(key) != value:
            raise UsageError(f"{location}: made for another {OF_TEACHER[key]}; remove --transfer-set")
    requested = transfer_set.requested or transfer_set.count
    if (count := min(requested, transfer_set.count)) <= plan.recipe.held_out:
        raise UsageError(
            f"{location}: has {count} samples, expected more than the {plan.recipe.held_out} held-out ones; "
            "complete it with --resume"
        )
    if transfer_set.count < requested:
        note = (
            f"{location}: has {transfer_set.count:,} of {requested:,} samples, because the run that makes it was "
            "interrupted; to use all, first complete that run with --resume"
        )
        plan = replace(plan, notes=(*plan.notes, note))
    return plan


def reuse(folder: Path, plan: Plan) -> tuple[Plan, Samples]:
    """The transfer set of an earlier run on the same teacher, whatever recipe made it.

    Returns:
        The plan, see ``check_reusable``, and the samples that the run used.

    Raises:
        UsageError: see ``check_reusable``, or a shard is missing or damaged.
    """
    plan = check_reusable(folder, plan)
    transfer_set = TransferSet.open(folder)
    return plan, transfer_set.load(transfer_set.requested)
