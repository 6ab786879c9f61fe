"""The converters under test, with the same interface."""

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
        graph: makes a function of torch tensors from any model.
        classifier: makes a module from a classifier's file. The module returns the class scores, or
            all outputs of the file.
    """

    graph: conformance.Convert
    classifier: Callable[[Path], nn.Module]


def find(name: str) -> Converter:
    """A converter by the name of its package, which is imported now.

    Raises:
        ValueError: no converter has this name.
    """
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
        raise ValueError(f"unknown converter '{name}'; expected zskd-onnx, onnx2torch, onnx2fx or onnx2pytorch")
    return Converter(convert, lambda path: convert(onnx.load(path)).eval())
