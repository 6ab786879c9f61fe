"""Check versions, batch size and the number of nodes after functions are inlined."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import ModelProto, NodeProto

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import describe, subgraphs

BATCH_LIMIT = 4096
"""Largest batch size that a file may fix."""

NODE_LIMIT = 50_000
"""Largest number of nodes of a model; the deepest published classifiers have a fifth of it."""

Key = tuple[str, str, str]
"""Domain, name and overload of a function."""


def check_size(model: ModelProto) -> None:
    """Check that the model can be read in reasonable time and that its versions are valid.

    A small file may become very large: functions that each call the next one twice, 40 levels
    deep, are one kilobyte and 2^40 nodes.

    Raises:
        UnsupportedTeacherError: there are too many nodes, functions call each other in a circle,
            the batch size is too large, or the installed onnx does not know the opset.
    """
    newest = onnx.defs.onnx_opset_version()
    if not 0 < model.ir_version < 1 << 31:
        raise UnsupportedTeacherError(f"invalid IR version {model.ir_version}; the file is damaged, export it again")
    for opset in [*model.opset_import, *(opset for function in model.functions for opset in function.opset_import)]:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise UnsupportedTeacherError(
                f"opset {opset.version} is newer than the newest that the installed onnx knows ({newest}); "
                "upgrade onnx, or export at an older opset"
            )
        if not 0 < opset.version < 1 << 31:
            raise UnsupportedTeacherError(
                f"invalid opset version {opset.version} of domain '{opset.domain}'; the file is damaged, export it again"
            )
    versions = {(_plain(opset.domain), opset.version) for opset in model.opset_import}  # skl2onnx repeats entries
    if len({domain for domain, _ in versions}) < len(versions):
        raise UnsupportedTeacherError(
            "one operator domain has two opset versions; the file is damaged, export it again"
        )
    for value in model.graph.input:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if any(n >= 1 << 31 for n in sizes):
            raise UnsupportedTeacherError(f"input '{value.name}' has shape {sizes}, expected sizes below 2^31")
        if value.type.tensor_type.shape.dim and value.type.tensor_type.shape.dim[0].dim_value > BATCH_LIMIT:
            raise UnsupportedTeacherError(
                f"input '{value.name}' has shape {sizes}: a batch size of {sizes[0]}, at most {BATCH_LIMIT} is supported; "
                "export the model with a variable batch size"
            )
    count = _Counter(model).count(model.graph.node)
    if count > NODE_LIMIT:
        raise UnsupportedTeacherError(
            f"the model has {count if count < 10**9 else 'more than 10^9'} nodes, at most {NODE_LIMIT:,} are supported; "
            "simplify it (onnxsim), or export it without functions and loops"
        )


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


class _Counter:
    """Counts nodes as if every function call was inlined; the size of each function is cached."""

    def __init__(self, model: ModelProto) -> None:
        self.bodies = {(_plain(f.domain), f.name, f.overload): f.node for f in model.functions}
        if len(self.bodies) < len(model.functions):
            raise UnsupportedTeacherError("two functions have the same name; the file is damaged, export it again")
        self.sizes: dict[Key, int | None] = {}

    def count(self, nodes: Iterable[NodeProto]) -> int:
        """The number of nodes, including those of subgraphs and of called functions."""
        return sum(self.count_node(node) for node in nodes)

    def count_node(self, node: NodeProto) -> int:
        inner = sum(self.count(body.node) for body in subgraphs(node))
        key = (_plain(node.domain), node.op_type, node.overload)
        return 1 + inner + (self.count_function(key, node) if key in self.bodies else 0)

    def count_function(self, key: Key, node: NodeProto) -> int:
        if key not in self.sizes:
            if len([size for size in self.sizes.values() if size is None]) > 100:
                raise UnsupportedTeacherError(
                    f"{describe(node)}: functions call each other more than 100 levels deep; "
                    "export the model without functions"
                )
            self.sizes[key] = None  # marks a function that is being counted
            self.sizes[key] = self.count(self.bodies[key])
        size = self.sizes[key]
        if size is None:
            raise UnsupportedTeacherError(
                f"{describe(node)}: this function calls itself; the file is damaged, export it again"
            )
        return size
