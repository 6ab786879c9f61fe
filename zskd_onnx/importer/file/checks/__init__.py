"""Checks of a parsed ONNX file before anything is built from it, one kind of check a module.

The checks read only the protobuf message. They compute nothing, and allocate nothing larger than
the file. onnxruntime, onnx-ir and torch get only files that have passed.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from zskd_onnx.importer.file.checks.names import check_names
from zskd_onnx.importer.file.checks.schema import check_nodes
from zskd_onnx.importer.file.checks.size import NODE_LIMIT, check_size
from zskd_onnx.importer.file.checks.tensors import check_tensors
from zskd_onnx.importer.file.checks.text import check_text

__all__ = ["NODE_LIMIT", "check_model", "check_names", "check_nodes", "check_size", "check_tensors", "check_text"]


def check_model(model: onnx.ModelProto, folder: Path) -> int:
    """Run all checks.

    Args:
        model: the parsed file.
        folder: the folder of the file; external weights must be inside it.

    Returns:
        Bytes of external data that the weights use.

    Raises:
        UnsupportedTeacherError: the first fault; the message does not contain the file's name.
    """
    check_text(model)
    check_size(model)
    check_names(model)
    external = check_tensors(model, folder)
    check_nodes(model)
    return external
