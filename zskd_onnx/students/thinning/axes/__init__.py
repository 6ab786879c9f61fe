"""How operators connect axes, one family of operators a module."""

from zskd_onnx.students.thinning.axes import (
    arranged,
    convolved,
    joined,
    multiplied,
    normalised,
    pointwise,
    pooled,
    reshaped,
)

__all__ = ["arranged", "convolved", "joined", "multiplied", "normalised", "pointwise", "pooled", "reshaped"]
