"""The table of operators whose axes are understood.

A rule says two things of an operator: which positions of its inputs and outputs belong together, and what else of the node
changes when channels are removed, such as its number of groups or the sizes that a Reshape names. Weights and other
constants are inputs like any other; they are cut along their axes without a rule.

An operator without a rule is a barrier: all axes that reach it keep their width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zskd_onnx.students.thinning.channels import Channels
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.observed_graph import Node

Connect = Callable[[Node, Channels], None]
Resize = Callable[[Node, Edit], None]


@dataclass(frozen=True)
class AxisRule:
    """What is known of an operator.

    Attributes:
        connect: joins the positions of a node's inputs and outputs, and fixes those that must stay.
        resize: adapts a node to the channels that remain; None where nothing but weights changes.
    """

    connect: Connect
    resize: Resize | None = None


RULES: dict[tuple[str, str], AxisRule] = {}


def axis_rule(*names: str, domain: str = "", resize: Resize | None = None) -> Callable[[Connect], Connect]:
    """Register the decorated function as the rule of these operators."""

    def register(connect: Connect) -> Connect:
        for name in names:
            RULES[domain, name] = AxisRule(connect, resize)
        return connect

    return register


def barrier(node: Node, channels: Channels) -> None:
    """Fix all axes of a node's inputs and outputs."""
    for name in (*node.inputs, *node.outputs):
        freeze_axes(node, channels, name, range(len(node.graph.shapes.get(name, ()))))


def freeze_axes(node: Node, channels: Channels, name: str, axes: range | list[int]) -> None:
    """Fix some axes of one value."""
    for axis in axes:
        channels.freeze(channels.ids(name, axis), node.index)


def join_axes(channels: Channels, *axes: tuple[str, int]) -> None:
    """Join axes of one size position by position."""
    first, *others = [channels.ids(name, axis) for name, axis in axes]
    for other in others:
        channels.join(first, other)
