"""Prepare a graph for the import, one pass a module: ``clean`` simplifies it, ``fuse`` merges nodes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.passes.drop_dangling import drop_dangling
from zskd_onnx.importer.passes.fold_constants import FOLDED, fold_constants
from zskd_onnx.importer.passes.fold_shapes import fold_shapes
from zskd_onnx.importer.passes.fuse_attention import fuse_attention
from zskd_onnx.importer.passes.fuse_gelu import fuse_gelu
from zskd_onnx.importer.passes.fuse_linear import fuse_linear
from zskd_onnx.importer.passes.fuse_slices import fuse_slices
from zskd_onnx.importer.passes.linear_models import expand_linear_models
from zskd_onnx.importer.passes.set_open_sizes import set_open_sizes
from zskd_onnx.importer.passes.single_precision import single_precision
from zskd_onnx.importer.passes.unfold_weights import unfold_weights

__all__ = [
    "clean",
    "drop_dangling",
    "expand_linear_models",
    "fold_constants",
    "fold_shapes",
    "fuse",
    "set_open_sizes",
    "single_precision",
    "unfold_weights",
]


def clean(model: ir.Model, sample: Sequence[int] | None = None, *, trainable: bool = False) -> None:
    """Simplify a model, in place, into the form that ``translate.import_graph`` reads.

    Afterwards:

    1. no model-local functions remain,
    2. initialisers are not graph inputs,
    3. nodes are in topological order,
    4. weights of linear models are initialisers instead of attributes,
    5. values that depend only on constants and fixed sizes are initialisers,
    6. nodes, initialisers and inputs that no output needs are removed,
    7. values inside the graph are in float32 instead of half precision.

    Args:
        model: a model that ``file.source.read_onnx_file`` has checked.
        sample: shape of one sample in the file's order, for sizes that the file leaves open.
        trainable: whether to store how constants were computed, so that ``unfold_weights`` can undo it.

    Raises:
        UnsupportedTeacherError: functions cannot be inlined, the graph has a cycle, or constants
            are too large.
    """
    if trainable:
        model.meta[FOLDED] = {}
    _inline(model)
    common.RemoveInitializersFromInputsPass()(model)
    _sort(model)
    if sample is not None:
        set_open_sizes(model, sample)
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
    """Replace several nodes by one where torch has one function for them, in place.

    The search for the classifier's final layer reads the plain graph, so fusing comes after it.
    """
    fuse_gelu(model)
    fuse_attention(model)
    fuse_linear(model)
    fuse_slices(model)


def _inline(model: ir.Model) -> None:
    if not model.functions:
        return
    try:
        common.InlinePass()(model)
    except Exception as error:  # for example opsets that differ, or arguments that do not fit
        reason = str(error.__cause__ or error).strip().split("\n", 1)[0][:300]
        raise UnsupportedTeacherError(
            f"the model's local functions cannot be inlined ({reason}); export it without functions"
        ) from error


def _sort(model: ir.Model) -> None:
    try:
        common.TopologicalSortPass()(model)
    except Exception as error:  # the pass manager wraps the errors of its passes
        raise UnsupportedTeacherError("the graph has a cycle; the file is damaged, export it again") from error
