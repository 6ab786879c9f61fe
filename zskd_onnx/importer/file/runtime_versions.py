"""Compare the versions that a file uses with those that the installed onnxruntime supports."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import onnxruntime
from onnx import ModelProto, TensorProto, helper

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.system.onnx_runtime import open_session

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
"""Domains whose newest opset depends on the version of onnxruntime."""

HIGHEST = 64
"""Version from which the search for the newest supported one starts."""


def check_runtime_versions(model: ModelProto) -> None:
    """Check that onnxruntime knows the IR version and the opsets of a model.

    onnxruntime does not publish its newest versions, so it loads a model of one node.

    Raises:
        UnsupportedTeacherError: a version is newer; the message has both numbers.
    """
    if not _loads(model.ir_version):
        newest = _newest(model.ir_version, _loads)
        raise UnsupportedTeacherError(
            f"the file has IR version {model.ir_version}, and onnxruntime {onnxruntime.__version__} supports at most "
            f"{newest}; upgrade onnxruntime, or save the file with model.ir_version = {newest}"
        )
    for opset in model.opset_import:
        if opset.domain in DOMAINS and not _loads(1, opset.domain, opset.version):
            newest = _newest(opset.version, partial(_loads, 1, opset.domain))
            raise UnsupportedTeacherError(
                f"the file has opset {opset.version} of domain '{opset.domain or 'ai.onnx'}', and onnxruntime "
                f"{onnxruntime.__version__} supports at most {newest}; upgrade onnxruntime, or export at opset {newest}"
            )


@cache
def _loads(ir_version: int, domain: str = "", opset: int = 1) -> bool:
    """Whether onnxruntime loads a model of these versions."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "versions", values[:1], values[1:])
    imports = [helper.make_opsetid("", 1)] if domain == "ai.onnx.ml" else []
    imports.append(helper.make_opsetid(domain, opset))
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    try:
        open_session(model.SerializeToString())
    except Exception:  # its class for a version that is too new is the one for every other failure
        return False
    return True


def _newest(version: int, loads: Callable[[int], bool]) -> int:
    """The newest version below ``version`` that onnxruntime loads; 0 if there is none."""
    return next((older for older in range(min(version - 1, HIGHEST), 0, -1) if loads(older)), 0)
