"""Freeing a batch size that the exporter fixed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.operators.shape import concat, expand, reshape

Shape = tuple[int, ...]


def size_of(x: Tensor, axis: int) -> int:
    """The size of one axis, as the graph needs it at run time."""
    return x.shape[axis]


def repeat_along(x: Tensor, axis: int, size: int) -> Tensor:
    """A tensor whose axis has size 1, repeated along it."""
    return x.expand([size if i == axis else n for i, n in enumerate(x.shape)])


def free_batch(module: fx.GraphModule, sample: Shape, batch: int, dtype: torch.dtype) -> None:
    """Rewrite a module that was exported at one batch size so that it runs at any.

    The graph is run on fake tensors at its own batch size and then at three times that, and
    nodes that bake the size in are rewritten as they are met:

    1. ``reshape`` to constant sizes: the entry that carries the batch becomes -1, the others
       become what they are at the file's batch size;
    2. ``expand`` to constant sizes: an entry that carries the batch becomes 1, which keeps the
       input's size;
    3. ``concat`` of a constant made for one sample (a class token) with something computed: the
       constant is repeated.

    What cannot be freed fails at the second batch size, or differs there from onnxruntime, and
    is refused by the checks that follow.

    Args:
        sample: shape of one sample in the file's order.
        batch: the size that the file fixes.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        recorder = _Recorder(module)
        recorder.run(torch.empty((batch, *sample), dtype=dtype))
        with mode:
            _Freer(module, recorder.shapes, batch).run(torch.empty((3 * batch, *sample), dtype=dtype))
    module.graph.lint()
    module.recompile()


class _Recorder(fx.Interpreter):
    """Shapes of all values at the file's own batch size."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.shapes: dict[fx.Node, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:
            reason = (str(error) or type(error).__name__).strip().split("\n", 1)[0][:300]
            raise UnsupportedTeacherError(f"{n.meta.get('onnx', n.name)}: {reason}") from error
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


class _Freer(fx.Interpreter):
    """Runs at another batch size, and rewrites what stands in the way."""

    def __init__(self, module: fx.GraphModule, shapes: dict[fx.Node, Shape], batch: int) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.extra_traceback = False
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
        except Exception as error:
            raise UnsupportedTeacherError(
                f"{n.meta.get('onnx', n.name)}: the batch size {self.batch} of the file is baked in here; "
                "export the model with a free batch size"
            ) from error

    def batch_axis(self, n: Any) -> int | None:
        """The axis of a value that grew with the batch."""
        value = self.env.get(n)
        if not isinstance(value, Tensor):
            return None
        before = self.shapes[n]
        grown = [i for i, (old, new) in enumerate(zip(before, value.shape, strict=True)) if old != new]
        return grown[0] if len(grown) == 1 else None

    def free_reshape(self, n: fx.Node) -> None:
        axis = self.batch_axis(n.args[0])
        if axis is None:
            return
        before, after = self.shapes[n.args[0]], self.shapes[n]  # type: ignore[index]
        place = _carrier(before, axis, after)
        if place is not None:
            n.args = (n.args[0], tuple(-1 if i == place else size for i, size in enumerate(after)))
            n.kwargs = {}

    def free_expand(self, n: fx.Node) -> None:
        axis = self.batch_axis(n.args[0])
        shape: Any = n.args[1]
        if axis is not None:
            place = axis + len(shape) - len(self.shapes[n.args[0]])  # type: ignore[index]
            n.args = (n.args[0], tuple(1 if i == place else size for i, size in enumerate(shape)))

    def free_concat(self, n: fx.Node) -> None:
        carriers = [(x, axis) for x in n.args if (axis := self.batch_axis(x)) is not None]
        if not carriers or len(carriers) == len(n.args):
            return
        model, axis = carriers[0]
        if axis == n.kwargs["axis"]:
            return
        freed = list(n.args)
        for i, x in enumerate(n.args):
            if self.batch_axis(x) is None and self.shapes[x][axis] == 1:  # type: ignore[index]
                with n.graph.inserting_before(n):
                    size = n.graph.call_function(size_of, (model, axis))
                    repeated = n.graph.call_function(repeat_along, (x, axis, size))
                self.env[size] = super().run_node(size)
                self.env[repeated] = super().run_node(repeated)
                freed[i] = repeated
        n.args = tuple(freed)


def _is_constant(shape: Any) -> bool:
    return isinstance(shape, (tuple, list)) and all(isinstance(size, int) for size in shape)


def _carrier(before: Shape, axis: int, after: Shape) -> int | None:
    """Which entry of a reshape's result holds the batch.

    Elements keep their order, so it is the entry whose stride range covers the batch's: as many
    elements lie before it as before the batch axis, or fewer where it is merged with others.
    """
    outer = math.prod(before[:axis])
    for place in range(len(after)):
        if math.prod(after[:place]) == outer:
            return place
    covering = [i for i in range(len(after)) if math.prod(after[:i]) < outer < math.prod(after[: i + 1])]
    return covering[0] if covering else None
