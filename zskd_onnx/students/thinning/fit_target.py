"""The largest thinned version of a teacher that meets a limit of size, cost or latency."""

from __future__ import annotations

from dataclasses import dataclass

from zskd_onnx.errors import UsageError
from zskd_onnx.students.thinned_student import PREFIX
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.quantities import FileSize, Latency, MultiplyAdds, Parameters, Quantity
from zskd_onnx.students.thinning.target import Target
from zskd_onnx.students.thinning.thin import teacher_groups
from zskd_onnx.students.thinning.widths import scaled_widths
from zskd_onnx.teacher.teacher import Teacher

STEPS = 1000
"""Factors are multiples of 1 / STEPS."""

QUANTITIES: dict[str, type[Quantity]] = {
    "target_params": Parameters,
    "target_macs": MultiplyAdds,
    "target_size": FileSize,
    "target_latency": Latency,
}


@dataclass(frozen=True)
class Fit:
    """The result of a search.

    Attributes:
        student: name of the student, such as "thin:0.41".
        trade: what it costs, and what was asked for, in one line.
    """

    student: str
    trade: str


def fit_target(teacher: Teacher, target: Target) -> Fit:
    """The thinned version with the largest factor that meets a target, by bisection.

    Raises:
        UsageError: the teacher meets the target already, or no factor does.
        UnsupportedTeacherError: the graph has no channels that could be removed.
    """
    groups = teacher_groups(teacher)
    quantity = QUANTITIES[target.kind](teacher, groups)
    of_teacher = quantity.of_teacher()
    limit = target.limit(of_teacher)
    if of_teacher <= limit:
        raise UsageError(
            f"{target.option}: the teacher meets this already, with {quantity.in_words(of_teacher)}{quantity.conditions}; "
            "give a smaller target"
        )
    meets, exceeds = 1, STEPS
    value = quantity.of(_widths(groups, meets))
    if value > limit:
        raise UsageError(
            f"{target.option}: the teacher's graph cannot be thinned that far; the smallest that is reachable is "
            f"{quantity.in_words(value)}{quantity.conditions} with {_name(groups, meets)}"
        )
    while exceeds - meets > 1:
        middle = (meets + exceeds) // 2
        if _widths(groups, middle) == _widths(groups, meets):
            meets = middle
        elif _widths(groups, middle) == _widths(groups, exceeds):
            exceeds = middle
        elif (of_middle := quantity.of(_widths(groups, middle))) <= limit:
            meets, value = middle, of_middle
        else:
            exceeds = middle
    name, share = _name(groups, meets), f" ({target.text} of the teacher)" if target.is_share else ""
    figures = f"{quantity.in_words(value)}{quantity.conditions}, the target is {quantity.number(limit)}{share}"
    return Fit(name, f"{name} of the teacher's widths: {figures}")


def _widths(groups: ChannelGroups, step: int) -> dict[str, int]:
    return scaled_widths(groups.groups, step / STEPS)


def _name(groups: ChannelGroups, step: int) -> str:
    """The student of a step, by the shortest factor that gives the same widths."""
    factors = [round(step / STEPS, digits) for digits in (1, 2, 3)]
    same = [f for f in factors if 0 < f < 1 and scaled_widths(groups.groups, f) == _widths(groups, step)]
    return f"{PREFIX}{same[0]:g}"
