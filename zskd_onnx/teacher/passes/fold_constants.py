"""Evaluate whatever depends on constants alone."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.teacher.nodes import arguments, attributes, describe, from_torch, operator_of, tensor_of
from zskd_onnx.teacher.operators import Operator
from zskd_onnx.teacher.passes.control_flow import inline_control_flow

LIMIT = 1 << 28
"""Elements that a folded tensor may have (1 GiB of float32)."""


def fold_constants(model: ir.Model) -> None:
    """Replace nodes whose inputs are all constants by initialisers.

    Weights behind Identity, Cast, Transpose, Reshape or ConstantOfShape become plain tensors, so
    that the search for the head sees them. A branch or a loop whose condition turns out constant
    is written out on the way. The result's size is computed on the meta device first: a file of
    a few bytes cannot ask for gigabytes.

    Raises:
        UnsupportedTeacherError: a result would exceed ``LIMIT`` elements, or a loop is too long.
    """
    graph = model.graph
    opsets = model.opset_imports
    for node in graph:  # nodes that are put in behind the current one are visited too
        if inline_control_flow(node):
            continue
        known = all(v is None or v.const_value is not None for v in node.inputs)
        if not known or any(v.is_graph_output() for v in node.outputs):
            continue
        operator = operator_of(node, opsets)
        if operator is None:
            continue
        try:
            outputs = _evaluate(node, operator)
        except UnsupportedTeacherError:
            raise
        except Exception:  # left as it is: the importer names it if it is really needed
            continue
        for old, tensor in zip(node.outputs, outputs, strict=True):
            new = ir.val(old.name, const_value=from_torch(tensor, old.name))
            ir.convenience.replace_all_uses_with(old, new)
            graph.register_initializer(new)
        graph.remove(node)


def _evaluate(node: ir.Node, operator: Operator) -> list[Tensor]:
    inputs = [None if v is None else tensor_of(v) for v in node.inputs]
    keywords = attributes(node, operator)

    def run(device: str) -> list[Tensor]:
        with torch.device(device):
            placed = [None if x is None else x.to(device) for x in inputs]
            moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in keywords.items()}
            result = operator.function(*arguments(operator, placed, inputs), **moved)
        results = list(result) if len(node.outputs) > 1 else [result]
        return [x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.int64) for x in results]

    if any(x.numel() > LIMIT for x in run("meta")):
        raise UnsupportedTeacherError(
            f"{describe(node)}: folding this constant would take more than {LIMIT:,} elements; simplify the model"
        )
    return run("cpu")
