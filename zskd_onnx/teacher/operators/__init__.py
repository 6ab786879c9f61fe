"""ONNX operators as torch functions: one family a file, one table (``registry``) over them."""

from zskd_onnx.teacher.operators import (
    activation,
    constant,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    reduction,
    shape,
)
from zskd_onnx.teacher.operators.registry import (
    Operator,
    find_operator,
    operator,
    registered,
    schema_version,
)

__all__ = [
    "Operator",
    "activation",
    "constant",
    "convolution",
    "elementwise",
    "find_operator",
    "indexing",
    "linear",
    "normalization",
    "operator",
    "pooling",
    "reduction",
    "registered",
    "schema_version",
    "shape",
]
