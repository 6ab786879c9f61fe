"""Check that the names in a file can be printed in messages and on a terminal."""

from __future__ import annotations

import re

from onnx import ModelProto

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import all_graphs, all_nodes

LENGTH_LIMIT = 4096
"""Largest number of characters of a name."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def check_text(model: ModelProto) -> None:
    """Check that all names are UTF-8, not too long, and without line breaks and control characters.

    Raises:
        UnsupportedTeacherError: a name is not.
    """
    _check("producer", model.producer_name)
    _check("producer", model.producer_version)
    for entry in model.metadata_props:
        _check("metadata key", entry.key)
        if entry.key.startswith("zskd."):  # the only values that are read, and quoted in errors
            _check(f"metadata {entry.key}", entry.value)
    for opset in model.opset_import:
        _check("operator domain", opset.domain)
    for function in model.functions:
        for name in (function.name, function.domain, *function.input, *function.output, *function.attribute):
            _check("function", name)
    for graph in all_graphs(model):
        for value in [*graph.input, *graph.output, *graph.value_info]:
            _check("value", value.name)
        for tensor in graph.initializer:
            _check("weight", tensor.name)
    for node in all_nodes(model):
        for name in (node.name, node.op_type, node.domain, *node.input, *node.output):
            _check("node", name)
        for attribute in node.attribute:
            _check("attribute", attribute.name)


def _check(what: str, text: str | bytes) -> None:
    if isinstance(text, bytes):  # protobuf returns bytes for a string that is not UTF-8
        raise UnsupportedTeacherError(f"{what} {text[:40]!r} is not UTF-8; the file is damaged, export it again")
    if len(text) > LENGTH_LIMIT or _CONTROL.search(text):
        raise UnsupportedTeacherError(
            f"{what} {text[:40]!a}... is longer than {LENGTH_LIMIT} characters or contains control characters; "
            "rename it and export again"
        )
