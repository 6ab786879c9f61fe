"""Removal of channels from a graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from zskd_onnx.students.thinning.axes.rule import RULES
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.groups import ChannelGroups


def remove(
    groups: ChannelGroups, removed: set[int], weights: Mapping[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    """The graph without these channels; nothing else differs.

    Args:
        removed: numbers of channels.
        weights: initialiser -> new content before channels are removed from it, where it changes.
    """
    edit = Edit(groups.graph, groups.masks(removed))
    for node in groups.graph.nodes:
        rule = RULES.get((node.proto.domain, node.kind))
        if rule is not None and rule.resize is not None:
            rule.resize(node, edit)
    edit.cut_constants(weights or {})
    return edit.model
