"""Evaluate whatever depends on constants alone."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.budget import Budget, OverBudgetError
from zskd_onnx.importer.nodes import arguments, attributes, describe, from_torch, operator_of, tensor_of
from zskd_onnx.importer.operators.elementwise import DIVISIONS, divides_safely
from zskd_onnx.importer.operators.registry import Operator
from zskd_onnx.importer.passes.control_flow import inline_control_flow

LIMIT = 1 << 27
"""Elements that a folded tensor may have (512 MiB of float32)."""

TOTAL_LIMIT = 3 << 26
"""Elements that all of them may have beyond the file's own: VGG-19 as ONNX's light model makes 144 million."""

COPIES = 4
"""How often the file's own elements may be copied, cast or moved on the way."""

WORK_LIMIT = 1 << 36
"""Operations for all constants together: seconds."""


def fold_constants(model: ir.Model) -> None:
    """Replace nodes whose inputs are all constants by initialisers.

    Weights behind Identity, Cast, Transpose, Reshape or ConstantOfShape become plain tensors, so
    that the search for the head sees them. A branch or a loop whose condition turns out constant
    is written out on the way. The result's size is computed on the meta device first: a file of
    a few bytes cannot ask for gigabytes, nor for hours.

    Raises:
        UnsupportedTeacherError: a result would exceed ``LIMIT`` elements, all of them together what
            the file's own weights warrant, or a loop is too long.
    """
    graph = model.graph
    opsets = model.opset_imports
    own = sum(v.const_value.size for v in graph.initializers.values() if v.const_value is not None)
    folder = _Folder(TOTAL_LIMIT + COPIES * own)
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
            outputs = folder.evaluate(node, operator)
        except UnsupportedTeacherError:
            raise
        except Exception:  # left as it is: the importer names it if it is really needed
            continue
        for old, tensor in zip(node.outputs, outputs, strict=True):
            new = ir.val(old.name, const_value=from_torch(tensor, old.name))
            ir.convenience.replace_all_uses_with(old, new)
            graph.register_initializer(new)
        graph.remove(node)
        for used in node.inputs:
            if used is not None and not used.uses() and not used.is_graph_output():
                graph.initializers.pop(used.name or "", None)


class _Folder:
    """Evaluates nodes, and keeps account of what they take.

    Args:
        elements: how many all results together may have.
    """

    def __init__(self, elements: int) -> None:
        self.elements = elements
        self.budget = Budget(LIMIT, WORK_LIMIT)

    def evaluate(self, node: ir.Node, operator: Operator) -> list[Tensor]:
        inputs = [None if v is None else tensor_of(v) for v in node.inputs]
        keywords = attributes(node, operator)
        if operator.function in DIVISIONS and isinstance(b := inputs[1], Tensor) and not b.is_floating_point():
            _check_divisor(node, b)
        if inputs or node.op_type != "Constant":
            try:
                with self.budget:
                    results = _run(node, operator, inputs, keywords, "meta")
            except OverBudgetError as error:
                raise UnsupportedTeacherError(f"{describe(node)}: folding this constant takes {error}") from error
            self.elements -= sum(x.numel() for x in results)
        if self.elements < 0:
            raise UnsupportedTeacherError(
                f"{describe(node)}: the constants up to here have more elements together than the weights warrant; "
                "simplify the model"
            )
        return _run(node, operator, inputs, keywords, "cpu")


def _check_divisor(node: ir.Node, divisor: Tensor) -> None:
    if not divides_safely(divisor):
        raise UnsupportedTeacherError(f"{describe(node)}: integers are divided by 0 or -1, which can end the process")


def _run(
    node: ir.Node, operator: Operator, inputs: list[Tensor | None], keywords: dict[str, Any], device: str
) -> list[Tensor]:
    with torch.device(device):
        placed = [None if x is None else x.to(device) for x in inputs]
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in keywords.items()}
        result = operator.function(*arguments(operator, placed, inputs), **moved)
    results = list(result) if len(node.outputs) > 1 else [result]
    return [x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.int64) for x in results]
