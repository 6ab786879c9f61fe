"""Students that are a thinner version of the teacher's own graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import yaml
from torch import Tensor, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.events import OnProgress, ignore_progress
from zskd_onnx.students.matched_blocks import Remaining
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.select_channels import Widths
from zskd_onnx.students.thinning.thin import teacher_groups, thin
from zskd_onnx.students.thinning.widths import named_widths, scaled_widths
from zskd_onnx.teacher.teacher import Teacher

PREFIX = "thin:"


@dataclass(frozen=True)
class ThinnedTeacher:
    """A teacher, and the widths of a student with its graph.

    Attributes:
        teacher: the teacher.
        groups: its groups of channels.
        widths: name of each group -> number of channels that remain.
    """

    teacher: Teacher
    groups: ChannelGroups
    widths: Widths

    def build(
        self, samples: Tensor | None = None, seed: int = 0, on_progress: OnProgress = ignore_progress
    ) -> tuple[OnnxStudent, Remaining]:
        """The student with the teacher's weights, and the channels that remain of each value.

        Args:
            samples, seed, on_progress: see ``thin``.
        """
        thinned = thin(self.teacher, self.groups, self.widths, samples, seed, on_progress)
        remaining = {value: (axis, torch.from_numpy(places)) for value, (axis, places) in thinned.remaining.items()}
        return OnnxStudent(thinned.model, self.teacher), remaining


def thinned_teacher(name: str, teacher: Teacher) -> ThinnedTeacher:
    """The student that "thin:FACTOR" or "thin:{GROUP: WIDTH, ...}" stands for.

    Raises:
        UsageError: the name cannot be read, names a group or width that the graph lacks, or removes no channel.
        UnsupportedTeacherError: the graph has no channels that could be removed.
    """
    amount = thin_amount(name)
    groups = teacher_groups(teacher)
    widths = scaled_widths(groups.groups, amount) if isinstance(amount, float) else named_widths(groups.groups, amount)
    if all(widths[group.name] == group.width for group in groups.groups):
        raise UsageError(f"student '{name}': every group keeps all of its channels; give a smaller factor or widths")
    return ThinnedTeacher(teacher, groups, widths)


def thin_amount(name: str) -> float | Mapping[str, int]:
    """The factor or the widths that a student's name has behind "thin:".

    Raises:
        UsageError: it is neither.
    """
    expected = "a factor above 0 and below 1, such as thin:0.5, or widths of groups, such as 'thin:{conv1: 8}'"
    try:
        amount = yaml.safe_load(name.removeprefix(PREFIX))
    except yaml.YAMLError as error:
        raise UsageError(f"student '{name}': expected {expected}") from error
    if isinstance(amount, int | float) and not isinstance(amount, bool) and math.isfinite(amount) and 0 < amount < 1:
        return float(amount)
    if isinstance(amount, dict) and amount and all(type(width) is int for width in amount.values()):
        return {str(group): width for group, width in amount.items()}
    raise UsageError(f"student '{name}': expected {expected}")


@torch.no_grad()
def randomise(student: nn.Module) -> None:
    """Draw a student's weights anew from torch's global generator, in place.

    Matrices and kernels are normal with the standard deviation that they had; biases and scales become their mean.
    """
    for parameter in student.parameters():
        if parameter.ndim > 1 and parameter.numel() > 1:
            nn.init.normal_(parameter, std=float(parameter.std()))
        else:
            parameter.fill_(float(parameter.mean()))
