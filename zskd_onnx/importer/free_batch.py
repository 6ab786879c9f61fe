"""Make the batch size of an imported graph variable if the exporter fixed it."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.fx_graph import NodeByNode, describe
from zskd_onnx.importer.operators.shape import concat, expand, reshape

Shape = tuple[int, ...]

# Fake tensors also log the traceback of an operator that fails. The exception says the same.
logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)


def size_of(x: Tensor, axis: int) -> int:
    """The size of one axis, read when the graph runs."""
    return x.shape[axis]


def repeat_along(x: Tensor, axis: int, size: int) -> Tensor:
    """Repeat a tensor along an axis of size 1, up to ``size``; no data is copied."""
    return x.expand([size if i == axis else n for i, n in enumerate(x.shape)])


def free_batch(module: fx.GraphModule, sample: Shape, batch: int, dtype: torch.dtype) -> None:
    """Rewrite a module that was exported at one batch size so that it runs at any, in place.

    The graph runs on fake tensors, which have no data: first at its own batch size, then at three
    times that size. Nodes that contain the batch size as a constant are rewritten on the way:

    1. ``reshape`` to constant sizes: the entry that contains the batch becomes -1, the others
       become the sizes at the file's own batch size.
    2. ``expand`` to constant sizes: the entry that contains the batch becomes 1, which keeps the
       input's size.
    3. ``concat`` of a computed tensor and a constant for one sample, for example a class token:
       the constant is repeated for each sample.

    A graph that is still wrong at other batch sizes either fails here or must be found by a
    comparison with onnxruntime afterwards.

    Args:
        module: takes one tensor (N, *sample).
        sample: shape of one sample in the file's axis order.
        batch: the batch size that the file fixes.
        dtype: element type of the input.

    Raises:
        UnsupportedTeacherError: a node fails at another batch size; the message names it.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        recorder = _ShapeRecorder(module)
        recorder.run(torch.empty((batch, *sample), dtype=dtype))
        with mode:
            _Rewriter(module, recorder.shapes, batch).run(torch.empty((3 * batch, *sample), dtype=dtype))
    module.graph.lint()
    module.recompile()


class _ShapeRecorder(NodeByNode):
    """Records the shape of every value at the file's own batch size."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


class _Rewriter(NodeByNode):
    """Runs the graph at another batch size, and rewrites nodes that contain the first one."""

    def __init__(self, module: fx.GraphModule, shapes: dict[fx.Node, Shape], batch: int) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.shapes = shapes
        self.batch = batch

    def run_node(self, n: fx.Node) -> Any:
        if n.target is reshape and _is_constant(n.args[1]):
            self.free_reshape(n)
        elif n.target is expand and _is_constant(n.args[1]):
            self.free_expand(n)
        elif n.target is concat:
            self.free_concat(n)
        try:
            return super().run_node(n)
        except UnsupportedTeacherError as error:
            raise UnsupportedTeacherError(
                f"{describe(n)}: this node works only at the file's batch size of {self.batch}; "
                "export the model with a variable batch size"
            ) from error

    def batch_axis(self, n: Any) -> int | None:
        """The axis of a value that grew with the batch, or None if there is not exactly one."""
        value = self.env.get(n)
        if not isinstance(value, Tensor):
            return None
        recorded = self.shapes[n]
        grown = [i for i, (old, new) in enumerate(zip(recorded, value.shape, strict=True)) if old != new]
        return grown[0] if len(grown) == 1 else None

    def free_reshape(self, n: fx.Node) -> None:
        axis = self.batch_axis(n.args[0])
        if axis is None:
            return
        before, after = self.shapes[n.args[0]], self.shapes[n]  # type: ignore[index]
        entry = _batch_entry(before, axis, after)
        if entry is not None:
            n.args = (n.args[0], tuple(-1 if i == entry else size for i, size in enumerate(after)))
            n.kwargs = {}

    def free_expand(self, n: fx.Node) -> None:
        axis = self.batch_axis(n.args[0])
        shape: Any = n.args[1]
        if axis is not None:
            entry = axis + len(shape) - len(self.shapes[n.args[0]])  # type: ignore[index]
            n.args = (n.args[0], tuple(1 if i == entry else size for i, size in enumerate(shape)))

    def free_concat(self, n: fx.Node) -> None:
        batched = [(x, axis) for x in n.args if (axis := self.batch_axis(x)) is not None]
        if not batched or len(batched) == len(n.args):
            return
        like, axis = batched[0]
        if axis == n.kwargs["axis"]:
            return
        inputs = list(n.args)
        for i, x in enumerate(n.args):
            if self.batch_axis(x) is None and self.shapes[x][axis] == 1:  # type: ignore[index]
                with n.graph.inserting_before(n):
                    size = n.graph.call_function(size_of, (like, axis))
                    repeated = n.graph.call_function(repeat_along, (x, axis, size))
                self.env[size] = super().run_node(size)
                self.env[repeated] = super().run_node(repeated)
                inputs[i] = repeated
        n.args = tuple(inputs)


def _is_constant(shape: Any) -> bool:
    return isinstance(shape, (tuple, list)) and all(isinstance(size, int) for size in shape)


def _batch_entry(before: Shape, axis: int, after: Shape) -> int | None:
    """The entry of a reshape's result that contains the batch, or None.

    A reshape keeps the order of the elements. If the batch keeps an axis of its own, as many
    elements lie in front of it as in front of the old axis. If the batch is merged with other
    axes, fewer elements lie in front of the merged one.
    """
    outer = math.prod(before[:axis])
    for entry in range(len(after)):
        if math.prod(after[:entry]) == outer:
            return entry
    covering = [i for i in range(len(after)) if math.prod(after[:i]) < outer < math.prod(after[: i + 1])]
    return covering[0] if covering else None
