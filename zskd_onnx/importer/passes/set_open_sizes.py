"""Set the sizes of the input that the file leaves open."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def set_open_sizes(model: ir.Model, sample: Sequence[int]) -> None:
    """Set the open sizes of a model's only input, in place, so that shape computations become constants.

    Nothing changes if the model has several inputs, or if the sample contradicts the file; the search for
    the input domain reports this.

    Args:
        model: the model.
        sample: shape of one sample in the file's order.
    """
    if len(model.graph.inputs) != 1:
        return
    (value,) = model.graph.inputs
    declared = [None, *[None] * len(sample)] if value.shape is None else list(value.shape)
    if len(declared) != 1 + len(sample) or min(sample, default=1) < 1:
        return
    if all(not isinstance(size, int) or size == n for size, n in zip(declared[1:], sample, strict=True)):
        value.shape = ir.Shape([declared[0], *sample])
