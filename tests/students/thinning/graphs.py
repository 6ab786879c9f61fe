"""Small graphs in ONNX's text form, with random weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from zskd_onnx.students.thinning.groups import ChannelGroups, find_groups
from zskd_onnx.students.thinning.observed_graph import observe

Shape = tuple[int, ...]


def graph_of(
    text: str,
    weights: Mapping[str, Shape | np.ndarray],
    *,
    sample: Shape = (3, 6, 6),
    opset: int = 18,
    classes: int = 4,
) -> onnx.ModelProto:
    """A model with input x (N, *sample) and output y (N, classes); weights are given as arrays or shapes."""
    sizes = ", ".join(["N", *map(str, sample)])
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> '
        f"agraph (float[{sizes}] x) => (float[N, {classes}] y) {{ {text} }}"
    )
    rng = np.random.default_rng(0)
    for name, weight in weights.items():
        array = weight if isinstance(weight, np.ndarray) else rng.normal(size=weight).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.checker.check_model(model)
    return model


def feeds(model: onnx.ModelProto, count: int) -> dict[str, np.ndarray]:
    """Random inputs."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    rng = np.random.default_rng(count)
    return {"x": rng.normal(size=(count, *shape)).astype(np.float32)}


def groups_of(model: onnx.ModelProto) -> ChannelGroups:
    """The groups of channels of a model."""
    return find_groups(observe(model, feeds(model, 2)))


def every_second(groups: ChannelGroups) -> set[int]:
    """Every second channel of each group."""
    return {channel for group in groups.groups for channel in group.channels[1::2]}
