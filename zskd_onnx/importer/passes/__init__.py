"""Graph clean-up before import, one pass a file; ``clean`` runs them in order."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.passes.drop_dangling import drop_dangling
from zskd_onnx.importer.passes.fold_constants import fold_constants
from zskd_onnx.importer.passes.fold_shapes import fold_shapes
from zskd_onnx.importer.passes.fuse_attention import fuse_attention
from zskd_onnx.importer.passes.fuse_gelu import fuse_gelu
from zskd_onnx.importer.passes.fuse_linear import fuse_linear
from zskd_onnx.importer.passes.fuse_slices import fuse_slices
from zskd_onnx.importer.passes.linear_models import expand_linear_models
from zskd_onnx.importer.passes.single_precision import single_precision

__all__ = [
    "clean",
    "drop_dangling",
    "expand_linear_models",
    "fold_constants",
    "fold_shapes",
    "fuse",
    "single_precision",
]


def clean(model: ir.Model) -> None:
    """Bring a model into the one form that the head search and the importer read.

    Afterwards:

    1. no model-local functions remain,
    2. initialisers are not inputs,
    3. nodes stand in topological order,
    4. weights of linear models are no attributes,
    5. everything that depends on constants and fixed sizes alone is an initialiser,
    6. nothing remains that no output needs, inputs included,
    7. no value inside the graph is in half precision.
    """
    _inline(model)
    common.RemoveInitializersFromInputsPass()(model)
    _sort(model)
    expand_linear_models(model)
    fold_constants(model)
    more = True
    while more:
        changed, more = fold_shapes(model)
        if changed:
            fold_constants(model)
    drop_dangling(model)
    single_precision(model)


def fuse(model: ir.Model) -> None:
    """Put one node where torch has one function for several, once the head has been found on the plain graph."""
    fuse_gelu(model)
    fuse_attention(model)
    fuse_linear(model)
    fuse_slices(model)


def _inline(model: ir.Model) -> None:
    if not model.functions:
        return
    try:
        common.InlinePass()(model)
    except Exception as error:  # opsets that differ, arguments that do not fit: many types
        reason = str(error.__cause__ or error).strip().split("\n", 1)[0][:300]
        raise UnsupportedTeacherError(
            f"its functions cannot be written out ({reason}); export it without them"
        ) from error


def _sort(model: ir.Model) -> None:
    try:
        common.TopologicalSortPass()(model)
    except Exception as error:  # the pass manager wraps what its passes raise
        raise UnsupportedTeacherError("the graph has a cycle; the file is damaged, export it again") from error
