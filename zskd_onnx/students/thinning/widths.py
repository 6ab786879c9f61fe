"""Widths of a thinned graph: how many channels of each group remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zskd_onnx.errors import UsageError
from zskd_onnx.students.thinning.groups import ChannelGroups, Group

MULTIPLE = 8
"""Widths above twice this number are multiples of it, because processors compute in blocks."""


def scaled_widths(groups: Sequence[Group], factor: float) -> dict[str, int]:
    """The same share of each group, at least one channel.

    Args:
        factor: between 0 and 1.
    """
    return {group.name: scaled_width(group, factor) for group in groups}


def scaled_width(group: Group, factor: float) -> int:
    """A share of a group's channels, as a multiple of ``MULTIPLE`` where the width is larger than twice that."""
    width = max(1, round(group.width * factor))
    if width > 2 * MULTIPLE and group.positions == 1:
        width = MULTIPLE * round(width / MULTIPLE)
    return min(width, group.width)


def named_widths(groups: Sequence[Group], widths: Mapping[str, int]) -> dict[str, int]:
    """The widths of all groups where a user names some; the others stay whole.

    Raises:
        UsageError: a name is not that of a group, or a width is not possible.
    """
    by_name = {group.name: group for group in groups}
    for name, width in widths.items():
        if name not in by_name:
            raise UsageError(
                f"thin: the graph has no group '{name}'; inspect --thin lists its groups: {', '.join(by_name)}"
            )
        if not 1 <= width <= by_name[name].width:
            raise UsageError(
                f"thin: group '{name}' has {by_name[name].width} channels; expected 1 to that, not {width}"
            )
    return {group.name: widths.get(group.name, group.width) for group in groups}


def removed_channels(groups: Sequence[Group], widths: Mapping[str, int]) -> set[int]:
    """The channels behind the widths of their groups; any others of the same number cost the same."""
    return {channel for group in groups for channel in group.channels[widths[group.name] :]}


def share_of_weights(groups: ChannelGroups, widths: Mapping[str, int]) -> float:
    """The share of a graph's floating-point constants that remains."""
    masks = groups.masks(removed_channels(groups.groups, widths))
    names = [tensor.name for tensor in groups.graph.proto.graph.initializer]
    floats = [name for name in names if groups.graph.types[name].kind == "f"]
    return sum(groups.size(name, masks) for name in floats) / sum(groups.size(name, {}) for name in floats)
