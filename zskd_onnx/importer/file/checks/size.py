"""How many nodes a model has once its functions are written out."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import ModelProto, NodeProto

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import describe, subgraphs

BATCH_LIMIT = 4096
"""Samples that a file may want at once."""

NODE_LIMIT = 50_000
"""Nodes that a model may have; the deepest classifiers have a fifth of it."""

Key = tuple[str, str, str]


def check_size(model: ModelProto) -> None:
    """Refuse what cannot be read in reasonable time, and versions that no schema can have.

    A function that calls another twice, 40 levels deep, is a kilobyte of file and 2^40 nodes.

    Raises:
        UnsupportedTeacherError: too many nodes, functions that call each other in a circle, or an
            opset that the installed onnx does not know.
    """
    newest = onnx.defs.onnx_opset_version()
    if not 0 < model.ir_version < 1 << 31:
        raise UnsupportedTeacherError(f"IR version {model.ir_version} is none; the file is damaged, export it again")
    for opset in [*model.opset_import, *(opset for function in model.functions for opset in function.opset_import)]:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise UnsupportedTeacherError(
                f"opset {opset.version} is newer than the installed onnx knows ({newest}); "
                "upgrade onnx, or export at an older opset"
            )
        if not 0 < opset.version < 1 << 31:
            raise UnsupportedTeacherError(
                f"opset {opset.version} of domain '{opset.domain}' is no version; the file is damaged, export it again"
            )
    versions = {(_plain(opset.domain), opset.version) for opset in model.opset_import}  # skl2onnx writes some twice
    if len({domain for domain, _ in versions}) < len(versions):
        raise UnsupportedTeacherError("two opset versions for one domain; the file is damaged, export it again")
    for value in model.graph.input:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if any(n < 0 or n >= 1 << 31 for n in sizes):
            raise UnsupportedTeacherError(f"input '{value.name}' has shape {sizes}, expected sizes from 1 to 2^31")
        if value.type.tensor_type.shape.dim and value.type.tensor_type.shape.dim[0].dim_value > BATCH_LIMIT:
            raise UnsupportedTeacherError(
                f"input '{value.name}' has shape {sizes}: {sizes[0]} samples at once, at most {BATCH_LIMIT} can be run"
            )
    count = _Counter(model).count(model.graph.node)
    if count > NODE_LIMIT:
        raise UnsupportedTeacherError(
            f"the model has {count if count < 10**9 else 'more than 10^9'} nodes, at most {NODE_LIMIT:,} can be read; "
            "simplify it (onnxsim), or export it without functions and loops"
        )


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


class _Counter:
    def __init__(self, model: ModelProto) -> None:
        self.bodies = {(_plain(f.domain), f.name, f.overload): f.node for f in model.functions}
        if len(self.bodies) < len(model.functions):
            raise UnsupportedTeacherError("two functions of one name; the file is damaged, export it again")
        self.sizes: dict[Key, int | None] = {}

    def count(self, nodes: Iterable[NodeProto]) -> int:
        """Nodes, those of bodies and of called functions included."""
        return sum(self.weigh(node) for node in nodes)

    def weigh(self, node: NodeProto) -> int:
        inner = sum(self.count(body.node) for body in subgraphs(node))
        key = (_plain(node.domain), node.op_type, node.overload)
        return 1 + inner + (self.call(key, node) if key in self.bodies else 0)

    def call(self, key: Key, node: NodeProto) -> int:
        if key not in self.sizes:
            if len([size for size in self.sizes.values() if size is None]) > 100:
                raise UnsupportedTeacherError(f"{describe(node)}: functions call each other more than 100 deep")
            self.sizes[key] = None  # being counted
            self.sizes[key] = self.count(self.bodies[key])
        size = self.sizes[key]
        if size is None:
            raise UnsupportedTeacherError(f"{describe(node)}: this function calls itself; the file is damaged")
        return size
