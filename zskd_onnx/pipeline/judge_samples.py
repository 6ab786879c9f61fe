"""Judgement of a run's samples by the teacher's predictions on them, before a student is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.errors import QualityError
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.training_samples import held_out_images
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.rows import Rows, in_memory
from zskd_onnx.teacher.probes.answers import Answers, summarise
from zskd_onnx.teacher.probes.domain_samples import domain_samples
from zskd_onnx.teacher.probes.outputs import TeacherView

JUDGED = 1024
"""Largest number of samples that are judged."""

LARGE_TEACHER, JUDGED_BY_LARGE = 10**9, 256
"""Multiply-adds from which on a teacher judges fewer samples, and how many."""


def judge_samples(plan: Plan, samples: Samples | None, *, allow_degenerate: bool) -> Answers:
    """The teacher's predictions on the samples that the student will see.

    Judged are synthesised samples, without any the real ones, or else procedural images. A generator has
    made none yet, so procedural samples stand for its own.

    Args:
        samples: the transfer set, or None.
        allow_degenerate: whether a collapse is accepted.

    Raises:
        QualityError: the predictions have collapsed, see ``Answers.collapse``.
    """
    inputs, kind = _judged(plan, samples)
    answers = summarise(TeacherView(plan.teacher).batched_logits(inputs))
    if (collapse := answers.collapse(kind)) is not None and not allow_degenerate:
        domain = plan.teacher.domain
        raise QualityError(
            f"{plan.teacher.source.path}: {collapse}, {domain.range_in_words}; a student of these would be useless, so "
            "nothing was trained. Give the teacher's true input with --input-range LOW,HIGH (such as 0,255), "
            "--mean and --std, or --layout; --allow-degenerate trains a student nevertheless"
        )
    return answers


def judged_count(plan: Plan) -> int:
    """Largest number of samples that a run judges."""
    return plan.at_most(JUDGED_BY_LARGE if plan.teacher.cost.multiply_adds >= LARGE_TEACHER else JUDGED)


def _judged(plan: Plan, samples: Samples | None) -> tuple[Tensor, str]:
    """Samples to judge, and their kind."""
    teacher = plan.teacher
    count = judged_count(plan)
    if samples is not None:
        return _drawn(samples.inputs, count, plan.recipe.seed), "synthesised samples"
    if plan.data is not None:
        return _drawn(plan.data.inputs, count, plan.recipe.seed), "real samples"
    shape = teacher.domain.shape
    if plan.images is not None and plan.images.share:
        return held_out_images(plan, count), "procedural images"
    return domain_samples(count, shape, rng_for(plan.recipe.seed, "judged samples")), "procedural samples"


def _drawn(inputs: Rows, count: int, seed: int) -> Tensor:
    """At most ``count`` samples, drawn at random: classes may come in turn, and every tenth sample would have one class."""
    order = torch.randperm(len(inputs), generator=rng_for(seed, "judged samples"))
    return in_memory(inputs[order[:count].sort().values])
