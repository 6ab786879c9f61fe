"""Size, cost and latency of thinned versions of a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zskd_onnx.students.describe import Description, measure
from zskd_onnx.students.thinned_student import PREFIX, ThinnedTeacher
from zskd_onnx.students.thinning.feeds import file_batch
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.thin import random_feeds
from zskd_onnx.students.thinning.widths import scaled_widths
from zskd_onnx.system.latency import median_latency
from zskd_onnx.teacher.teacher import Teacher

FACTORS = (0.75, 0.5, 0.25)


def describe_thinned(
    teacher: Teacher, groups: ChannelGroups, factors: Sequence[float] = FACTORS, *, timed: bool = True
) -> list[Description]:
    """Descriptions of thinned versions, each of which passed its proof.

    Args:
        groups: from ``teacher_groups``.
        timed: whether to measure latencies.

    Raises:
        UnsupportedTeacherError: a version does not pass.
    """
    descriptions = []
    for factor in factors:
        student, _ = ThinnedTeacher(teacher, groups, scaled_widths(groups.groups, factor)).build()
        size = measure(student, teacher.domain.shape)
        descriptions.append(
            Description(
                f"{PREFIX}{factor:g}",
                f"the teacher's graph with {100 * factor:g} % of its channels",
                size.parameters,
                size.multiply_adds,
                milliseconds=_milliseconds(teacher, student.to_file().SerializeToString()) if timed else None,
            )
        )
    return descriptions


def teacher_milliseconds(teacher: Teacher) -> float:
    """Median time of the teacher's own file."""
    return _milliseconds(teacher, teacher.source.path)


def _milliseconds(teacher: Teacher, model: Path | bytes) -> float:
    return round(1000 * median_latency(model, random_feeds(teacher, file_batch(teacher) or 1)), 4)
