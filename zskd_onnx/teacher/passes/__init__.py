"""Graph clean-up before import, one pass a file; ``clean`` runs them in order."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from zskd_onnx.teacher.passes.drop_dangling import drop_dangling
from zskd_onnx.teacher.passes.fold_constants import fold_constants
from zskd_onnx.teacher.passes.fold_shapes import fold_shapes
from zskd_onnx.teacher.passes.linear_models import expand_linear_models
from zskd_onnx.teacher.passes.single_precision import single_precision

__all__ = ["clean", "drop_dangling", "expand_linear_models", "fold_constants", "fold_shapes", "single_precision"]


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
    common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    common.TopologicalSortPass()(model)
    expand_linear_models(model)
    fold_constants(model)
    while fold_shapes(model):
        fold_constants(model)
    drop_dangling(model)
    single_precision(model)
