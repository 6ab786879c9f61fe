"""Evaluate everything that depends only on constants."""

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

ELEMENT_LIMIT = 1 << 27
"""Largest number of elements of one folded tensor (512 MiB of float32)."""

TOTAL_LIMIT = 3 << 26
"""Largest number of elements of all folded tensors together, besides copies of the file's weights.

VGG-19 in ONNX's ``light_*`` models, which makes its weights in the graph, needs 144 million.
"""

COPIES = 4
"""How many copies of the file's own weights folding may make, for example by Cast or Transpose."""

WORK_LIMIT = 1 << 36
"""Largest number of operations for all constants together: a few seconds."""


FOLDED = "folded"
"""Key of ``model.meta``: floating-point constant -> the value that it replaced, in the order of their computation.

It is there in a trainable import alone, where ``unfold_weights`` puts nodes back.
"""


def fold_constants(model: ir.Model) -> None:
    """Replace nodes whose inputs are all constants by initialisers, in place.

    Weights behind Identity, Cast, Transpose, Reshape or ConstantOfShape become plain initialisers,
    where later steps find them. If and Loop nodes whose condition turns out to be constant are
    inlined on the way.

    The size of each result is computed on the meta device first. A file of a few bytes therefore
    cannot make the process use gigabytes or hours.

    Raises:
        UnsupportedTeacherError: a result has more than ``ELEMENT_LIMIT`` elements, all results
            together have too many for the size of the file's weights, or a loop is too long.
    """
    graph = model.graph
    opsets = model.opset_imports
    folded = model.meta.get(FOLDED)
    weight_elements = sum(v.const_value.size for v in graph.initializers.values() if v.const_value is not None)
    folder = _Folder(TOTAL_LIMIT + COPIES * weight_elements)
    for node in graph:  # nodes that are inserted behind the current one are visited too
        if inline_control_flow(node):
            continue
        constant = all(v is None or v.const_value is not None for v in node.inputs)
        if not constant or any(v.is_graph_output() for v in node.outputs):
            continue
        operator = operator_of(node, opsets)
        if operator is None:
            continue
        try:
            outputs = folder.evaluate(node, operator)
        except UnsupportedTeacherError:
            raise
        except Exception:  # the node stays; the import reports it if an output needs it
            continue
        for old, tensor in zip(node.outputs, outputs, strict=True):
            new = ir.val(old.name, const_value=from_torch(tensor, old.name))
            ir.convenience.replace_all_uses_with(old, new)
            graph.register_initializer(new)
            if folded is not None and node.inputs and tensor.is_floating_point():
                folded[new] = old
        graph.remove(node)
        for value in node.inputs:
            if value is not None and not value.uses() and not value.is_graph_output():
                graph.initializers.pop(value.name or "", None)


class _Folder:
    """Evaluates nodes, and counts the elements and operations that they need.

    Args:
        elements: largest number of elements of all results together.
    """

    def __init__(self, elements: int) -> None:
        self.elements = elements
        self.budget = Budget(ELEMENT_LIMIT, WORK_LIMIT)

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
                raise UnsupportedTeacherError(f"{describe(node)}: this constant needs {error}") from error
            self.elements -= sum(x.numel() for x in results)
        if self.elements < 0:
            raise UnsupportedTeacherError(
                f"{describe(node)}: the constants up to this node have too many elements for the size of the file's "
                "weights; simplify the model (onnxsim)"
            )
        return _run(node, operator, inputs, keywords, "cpu")


def _check_divisor(node: ir.Node, divisor: Tensor) -> None:
    if not divides_safely(divisor):
        raise UnsupportedTeacherError(
            f"{describe(node)}: an integer division by 0 or -1, which can end the process; "
            "export the model with floating-point numbers"
        )


def _run(
    node: ir.Node, operator: Operator, inputs: list[Tensor | None], keywords: dict[str, Any], device: str
) -> list[Tensor]:
    with torch.device(device):
        tensors = [None if x is None else x.to(device) for x in inputs]
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in keywords.items()}
        result = operator.function(*arguments(operator, tensors, inputs), **moved)
    results = list(result) if len(node.outputs) > 1 else [result]
    return [x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.int64) for x in results]
