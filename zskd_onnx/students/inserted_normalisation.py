"""Batch normalisation behind the convolutions of a student while it is trained, folded away before it is written.

Exporters fold batch normalisation into convolutions, and a deep residual network without it trains badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn

from zskd_onnx.importer.fx_graph import ImportedModel, is_constant, operator_name
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.students.pruning.recalibrate import recalibrate

NAME = "inserted_normalisation"
CLASSES: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
"""By the rank of a convolution's weight."""


def insert_normalisation(student: OnnxStudent, parts: Sequence[Tensor]) -> int:
    """Put a batch normalisation behind each convolution that has a bias and none behind it, in place.

    In inference mode the student computes what it computed before.

    Args:
        parts: samples (N, *shape) of the unit space, in batches; they give the running statistics.

    Returns:
        The number of batch normalisations.
    """
    graph = student.scores.graph
    nodes = [node for node in graph.nodes if _takes_normalisation(student.scores, node)]
    for number, node in enumerate(nodes):
        weight = student.scores.get_parameter(str(node.args[1].target))
        norm = CLASSES[weight.ndim](len(weight), device=weight.device)
        nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)  # with a variance of 1, an identity
        student.scores.add_module(f"{NAME}_{number}", norm)
        with graph.inserting_after(node):
            inserted = graph.call_module(f"{NAME}_{number}", (node,))
        inserted.meta = dict(node.meta)
        node.replace_all_uses_with(inserted, delete_user_cb=lambda user, norm=inserted: user is not norm)
    student.scores.recompile()
    student.eval()
    recalibrate(student, parts)
    return len(nodes)


def is_normalised(student: OnnxStudent) -> bool:
    """Whether a student's graph has a normalisation of its own."""
    return any("Normalization" in operator_name(node) for node in student.scores.graph.nodes)


@torch.no_grad()
def fold_normalisation(student: OnnxStudent) -> None:
    """Fold the batch normalisations that ``insert_normalisation`` added into their convolutions, in place."""
    scores = student.scores
    for node in [n for n in scores.graph.nodes if n.op == "call_module" and str(n.target).startswith(NAME)]:
        norm, convolution = cast(nn.BatchNorm2d, scores.get_submodule(str(node.target))), node.args[0]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = (scores.get_parameter(str(argument.target)) for argument in convolution.args[1:3])
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        bias.copy_((bias - norm.running_mean) * scale + norm.bias)
        weight.mul_(scale.reshape(-1, *[1] * (weight.ndim - 1)))
        node.replace_all_uses_with(convolution)
        scores.graph.erase_node(node)
        scores.delete_submodule(str(node.target))
    scores.recompile()


def _takes_normalisation(module: ImportedModel, node: fx.Node) -> bool:
    """Whether a node is a convolution whose weight and bias are parameters of its own, without normalisation behind it."""
    if operator_name(node) != "Conv" or len(node.args) < 3:
        return False
    parameters = dict(module.named_parameters())
    weights = node.args[1:3]
    own = all(is_constant(w) and len(w.users) == 1 and str(w.target) in parameters for w in weights)
    return own and not any("Normalization" in operator_name(user) for user in node.users)
