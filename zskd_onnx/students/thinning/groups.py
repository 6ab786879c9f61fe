"""Groups of channels of a graph: which may be removed, and what holds the others."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from zskd_onnx.students.thinning.axes.rule import RULES, barrier
from zskd_onnx.students.thinning.channels import Channels, Reader
from zskd_onnx.students.thinning.edit import Masks
from zskd_onnx.students.thinning.observed_graph import INPUT, OUTPUT, ObservedGraph


@dataclass(frozen=True)
class Group:
    """Channels of the same kind, of which any may be removed.

    Attributes:
        name: name of the first node whose weights make them, with a number where it makes several groups.
        channels: their numbers; the channels lie in this order along the axes.
        positions: positions of one channel along the axis that is made first, such as the width of an attention head.
    """

    name: str
    channels: tuple[int, ...]
    positions: int

    @property
    def width(self) -> int:
        """The number of channels."""
        return len(self.channels)


@dataclass(frozen=True)
class HeldChannels:
    """Channels that cannot be removed.

    Attributes:
        node: the node whose weights make them.
        width: their number.
        held_by: the node that holds them.
    """

    node: str
    width: int
    held_by: str


@dataclass(frozen=True)
class ChannelGroups:
    """The channels of a graph.

    Attributes:
        graph: the graph.
        groups: channels that may be removed, in graph order.
        held: channels that stay, with what holds them; those of the classes are left out.
        readers: inputs of nodes that sum over channels.
        channel_of: (value, axis) -> for each position, the number of its channel.
    """

    graph: ObservedGraph
    groups: tuple[Group, ...]
    held: tuple[HeldChannels, ...]
    readers: tuple[Reader, ...]
    channel_of: dict[tuple[str, int], np.ndarray]

    def masks(self, removed: set[int]) -> Masks:
        """Which positions remain of the axes that lose some, if these channels are removed."""
        numbers = np.fromiter(removed, dtype=np.int64, count=len(removed))
        masks = {axis: ~np.isin(channels, numbers) for axis, channels in self.channel_of.items()}
        return {axis: mask for axis, mask in masks.items() if not mask.all()}

    def size(self, value: str, masks: Masks) -> int:
        """The number of elements of a value that remain."""
        sizes = enumerate(self.graph.shapes[value])
        return math.prod(int(masks[value, i].sum()) if (value, i) in masks else size for i, size in sizes)


def find_groups(graph: ObservedGraph) -> ChannelGroups:
    """The groups of channels of a graph."""
    channels = Channels(graph.shapes)
    for value in graph.proto.graph.input:
        if value.name not in graph.constants:
            _freeze(channels, graph, value.name, INPUT)
    for value in graph.proto.graph.output:
        _freeze(channels, graph, value.name, OUTPUT)
    for node in graph.nodes:
        rule = RULES.get((node.proto.domain, node.kind))
        for attribute in node.proto.attribute:
            if attribute.HasField("g"):
                for name in {n for inner in attribute.g.node for n in inner.input}:
                    _freeze(channels, graph, name, node.index)
        (barrier if rule is None else rule.connect)(node, channels)
    return _collect(graph, channels)


def _freeze(channels: Channels, graph: ObservedGraph, value: str, node: int) -> None:
    for axis in range(len(graph.shapes.get(value, ()))):
        channels.freeze(channels.ids(value, axis), node)


def _collect(graph: ObservedGraph, channels: Channels) -> ChannelGroups:
    """Channels that lie on the same axes, each with the same number of positions, form a group."""
    makers, holders = channels.owners()
    axes: dict[int, list[tuple[tuple[str, int], int]]] = defaultdict(list)
    channel_of = {}
    for axis in channels.axes():
        roots = channels.roots(channels.ids(*axis))
        for channel, count in zip(*np.unique(roots, return_counts=True), strict=True):
            if int(channel) in makers:
                axes[int(channel)].append((axis, int(count)))
        if any(channel in makers and channel not in holders for channel in roots.tolist()):
            channel_of[axis] = roots
    by_place: dict[tuple[tuple[tuple[str, int], int], ...], list[int]] = defaultdict(list)
    held: dict[tuple[int, int], int] = defaultdict(int)
    for channel in sorted(makers):
        if channel in holders:
            held[makers[channel], holders[channel]] += 1
        else:
            by_place[tuple(axes[channel])].append(channel)
    groups, names = [], dict[str, int]()
    for place, members in sorted(by_place.items(), key=lambda item: makers[item[1][0]]):
        node = graph.nodes[makers[members[0]]]
        name = node.proto.name or node.outputs[0]
        names[name] = names.get(name, 0) + 1
        made = {axis: count for axis, count in place if axis[0] in (*node.inputs, *node.outputs)}
        number = f":{names[name]}" if names[name] > 1 else ""
        groups.append(Group(f"{name}{number}", tuple(members), max(made.values())))
    stay = tuple(
        HeldChannels(graph.describe(maker), width, graph.describe(holder))
        for (maker, holder), width in sorted(held.items())
        if holder != OUTPUT
    )
    return ChannelGroups(graph, tuple(groups), stay, tuple(channels.readers), channel_of)
