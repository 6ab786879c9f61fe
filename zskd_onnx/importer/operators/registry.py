"""The table that maps ONNX operators to torch functions.

An operator is a plain function. Its positional parameters are the ONNX inputs, with ``None`` for
an optional input that is left out; its keyword parameters are the ONNX attributes. It returns a
tensor, or a tuple of tensors if the operator has several outputs. What each operator computes is
defined by the ONNX specification (https://onnx.ai/onnx/operators/).

Each function is registered for the exact schema versions that it implements. A file at another
version is therefore unsupported, and never read with the meaning of a neighbouring version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx.defs
from torch import Tensor

Function = Callable[..., Any]

OWN = "zskd"
"""Domain of operators that no file contains: passes put them in place of several nodes."""


@dataclass(frozen=True)
class Operator:
    """The implementation of an ONNX operator.

    Attributes:
        function: computes the outputs from inputs and attributes.
        host_inputs: positions of the inputs that the function needs as Python numbers (for example a
            shape, axes or pads). The importer passes an int, a float or a tuple instead of a tensor.
        counts_outputs: whether the function takes the number of outputs as ``num_outputs``.
        returns_host: whether the function returns Python integers (a shape) instead of a tensor.
    """

    function: Function
    host_inputs: frozenset[int]
    counts_outputs: bool
    returns_host: bool = False


_TABLE: dict[tuple[str, str, int], Operator] = {}


def operator(
    name: str,
    versions: tuple[int, ...],
    *,
    domain: str = "",
    host_inputs: tuple[int, ...] = (),
    counts_outputs: bool = False,
    returns_host: bool = False,
) -> Callable[[Function], Function]:
    """Register the decorated function as an implementation.

    Args:
        name: the ONNX operator, for example "Conv".
        versions: the schema versions that the function implements.
        domain: the operator's domain; "" is ai.onnx.
        host_inputs: positions of the inputs that must be Python numbers.
        counts_outputs: whether to pass the number of outputs as ``num_outputs``.
        returns_host: whether the function returns Python integers instead of a tensor.

    Raises:
        ValueError: an operator is registered twice at one version.
    """

    def register(function: Function) -> Function:
        entry = Operator(function, frozenset(host_inputs), counts_outputs, returns_host)
        for version in versions:
            key = (domain, name, version)
            if key in _TABLE:
                raise ValueError(f"operator {key} is registered twice")
            _TABLE[key] = entry
        return function

    return register


def first_outputs(outputs: tuple[Tensor | None, ...], num_outputs: int) -> Any:
    """The outputs that a node has: the first one alone, or a tuple of the first ``num_outputs``."""
    return outputs[0] if num_outputs == 1 else outputs[:num_outputs]


def schema_version(domain: str, name: str, opset: int) -> int | None:
    """The schema version of an operator that an opset selects, or None if ONNX has none.

    onnxruntime's own operators have no schema in ONNX; all are at version 1. Its optimiser also
    writes LayerNormalization into files of opsets below 17, which do not define it, with the meaning
    of opset 17; these are at version 1 too.

    Args:
        domain: the operator's domain; "" is ai.onnx.
        name: the ONNX operator.
        opset: the model's opset version of that domain.
    """
    if domain in ("com.microsoft", OWN) or ((domain, name) == ("", "LayerNormalization") and opset < 17):
        return 1
    try:
        return onnx.defs.get_schema(name, max_inclusive_version=opset, domain=domain).since_version
    except onnx.defs.SchemaError:
        return None


def find_operator(domain: str, name: str, opset: int) -> Operator | None:
    """The implementation of an operator at an opset, or None if it is not supported.

    Args:
        domain: the operator's domain; "" is ai.onnx.
        name: the ONNX operator.
        opset: the model's opset version of that domain.
    """
    version = schema_version(domain, name, opset)
    return None if version is None else _TABLE.get((domain, name, version))


def registered() -> list[tuple[str, str, int]]:
    """Every supported (domain, operator, schema version) of ONNX files, sorted."""
    return sorted(key for key in _TABLE if key[0] != OWN)
