"""The converters under test, each behind the same two functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conformance
import onnx
import torchvision_operators
from torch import nn

from zskd_onnx import load_teacher


@dataclass(frozen=True)
class Converter:
    """One converter.

    Attributes:
        graph: any model as a function of torch tensors.
        classifier: a file as a module that gives the file's class scores, or all its outputs.
    """

    graph: conformance.Convert
    classifier: Callable[[Path], nn.Module]


def find(name: str) -> Converter:
    """A converter by the name of its package, imported here and now."""
    if name == "zskd-onnx":
        return Converter(conformance.importer, lambda path: load_teacher(path, input_range=(-1, 1)))
    torchvision_operators.declare()
    convert: Callable[[onnx.ModelProto], Any]
    if name == "onnx2torch":
        from onnx2torch import convert
    elif name == "onnx2fx":
        from onnx2fx import convert
    elif name == "onnx2pytorch":
        from onnx2pytorch import ConvertModel as convert
    else:
        raise ValueError(f"no converter '{name}'")
    return Converter(convert, lambda path: convert(onnx.load(path)).eval())
