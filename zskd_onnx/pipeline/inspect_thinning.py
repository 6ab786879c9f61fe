"""Which channels of a teacher's graph can be removed, and what holds the others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.students.automatic import teacher_size
from zskd_onnx.students.describe import Size
from zskd_onnx.students.describe_thinned import describe_thinned
from zskd_onnx.students.thinning.groups import ChannelGroups, Group, HeldChannels
from zskd_onnx.students.thinning.thin import all_groups, expect_groups
from zskd_onnx.students.thinning.widths import scaled_width
from zskd_onnx.teacher.load import TeacherOptions, load_teacher

HALF = 0.5
"""Factor of the version that is shown."""


@dataclass(frozen=True)
class ThinnableGroup:
    """Channels that are removed together.

    Attributes:
        name: by which a recipe gives its width, as in "thin:{conv1: 8}".
        width: number of channels.
        positions: values of one channel where the channels are made, such as the width of an attention head.
        half: number of channels that "thin:0.5" leaves.
        first: the first node that reads or makes the channels.
        nodes: number of these nodes.
    """

    name: str
    width: int
    positions: int
    half: int
    first: str
    nodes: int


@dataclass(frozen=True)
class Thinning:
    """How a teacher's graph can be thinned.

    Attributes:
        path: the teacher's file.
        groups: channels that can be removed, in graph order.
        held: channels that cannot; those of the input and the classes are left out.
        teacher: size of the teacher.
        half: size of "thin:0.5"; None where it cannot be made.
        reason: why it cannot be made; None where it can.
    """

    path: Path
    groups: tuple[ThinnableGroup, ...]
    held: tuple[HeldChannels, ...]
    teacher: Size
    half: Size | None
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        return {
            "path": str(self.path),
            "groups": [asdict(group) for group in self.groups],
            "held": [asdict(axis) for axis in self.held],
            "teacher": asdict(self.teacher),
            "thin:0.5": None if self.half is None else asdict(self.half),
            "reason": self.reason,
        }


def inspect_thinning(path: str | Path, **options: Unpack[TeacherOptions]) -> Thinning:
    """Inspect which channels of a teacher's graph can be removed.

    Args:
        options: as ``load_teacher`` takes them.

    Raises:
        UsageError, UnsupportedTeacherError, ParityError: see ``load_teacher``.
    """
    teacher = load_teacher(path, **options)
    channels = all_groups(teacher)
    half = reason = None
    try:
        expect_groups(teacher, channels)
        (entry,) = describe_thinned(teacher, channels, (HALF,), timed=False)
        half = Size(entry.parameters or 0, entry.multiply_adds or 0)
    except UnsupportedTeacherError as error:
        reason = str(error)
    return Thinning(
        teacher.source.path,
        tuple(_group(channels, group) for group in channels.groups),
        channels.held,
        teacher_size(teacher),
        half,
        reason,
    )


def _group(channels: ChannelGroups, group: Group) -> ThinnableGroup:
    members = set(group.channels)
    values = {value for (value, _), numbers in channels.channel_of.items() if members & set(numbers.tolist())}
    nodes = [node for node in channels.graph.nodes if values & {*node.inputs, *node.outputs}]
    return ThinnableGroup(
        group.name, group.width, group.positions, scaled_width(group, HALF), nodes[0].describe(), len(nodes)
    )
