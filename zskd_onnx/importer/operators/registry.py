"""The one table that maps ONNX operators to torch functions.

An operator is a plain function: ONNX inputs are its positional parameters (``None`` where an
optional input is left out), ONNX attributes its keyword parameters, and it returns a tensor, or
a tuple of them where the operator has several outputs.

Each function registers for the exact schema versions whose meaning it implements, so a file at
another version is unsupported rather than read with a neighbour's meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx.defs
from torch import Tensor

Function = Callable[..., Any]

OWN = "zskd"
"""Domain of operators that no file holds: passes put them in place of several nodes."""


@dataclass(frozen=True)
class Operator:
    """One implementation.

    Attributes:
        function: computes the outputs from inputs and attributes.
        host_inputs: positions of the inputs that must be known as Python numbers (a shape, axes,
            pads): the importer passes an int, a float or a tuple of them instead of a tensor.
        counts_outputs: whether the function takes the number of outputs as ``num_outputs``.
        returns_host: whether it returns Python integers (a shape) instead of a tensor.
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
    """Register the decorated function for ``name`` at each schema version in ``versions``."""

    def register(function: Function) -> Function:
        entry = Operator(function, frozenset(host_inputs), counts_outputs, returns_host)
        for version in versions:
            key = (domain, name, version)
            if key in _TABLE:
                raise ValueError(f"operator {key} is registered twice")
            _TABLE[key] = entry
        return function

    return register


def given(outputs: tuple[Tensor | None, ...], num_outputs: int) -> Any:
    """What a node with ``num_outputs`` outputs gives: the first alone, or a tuple of the first few."""
    return outputs[0] if num_outputs == 1 else outputs[:num_outputs]


def schema_version(domain: str, name: str, opset: int) -> int | None:
    """The schema version in force for an operator at an opset; None if ONNX has none.

    onnxruntime's own operators have no schema in ONNX; all are at version 1. Its optimiser also
    writes LayerNormalization into files of opsets that had none yet, with the meaning it has now.
    """
    if domain in ("com.microsoft", OWN) or ((domain, name) == ("", "LayerNormalization") and opset < 17):
        return 1
    try:
        return onnx.defs.get_schema(name, max_inclusive_version=opset, domain=domain).since_version
    except onnx.defs.SchemaError:
        return None


def find_operator(domain: str, name: str, opset: int) -> Operator | None:
    """The implementation for an operator at an opset, or None if there is none."""
    version = schema_version(domain, name, opset)
    return None if version is None else _TABLE.get((domain, name, version))


def registered() -> list[tuple[str, str, int]]:
    """Every (domain, operator, schema version) of ONNX files that is implemented, sorted."""
    return sorted(key for key in _TABLE if key[0] != OWN)
