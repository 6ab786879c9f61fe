"""What a parsed file must satisfy before anything is made of it, one kind of check a file.

They run on the protobuf message alone: nothing is computed and nothing is allocated that is
larger than the file. onnxruntime, onnx-ir and torch see only what has passed.
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
        folder: where the file lies, which no weight may leave.

    Returns:
        The bytes that its weights take of other files.

    Raises:
        UnsupportedTeacherError: the first fault; without the file's own name.
    """
    check_text(model)
    check_size(model)
    check_names(model)
    external = check_tensors(model, folder)
    check_nodes(model)
    return external
