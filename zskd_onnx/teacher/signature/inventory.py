"""Operators of a teacher's file, and the layers that recipes require."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from zskd_onnx.importer.nodes import operator_of


@dataclass(frozen=True)
class Inventory:
    """Counts of layers and operators.

    Attributes:
        convolutions: number of Conv and ConvTranspose nodes in the cleaned graph.
        batch_norms: number of BatchNormalization nodes in the cleaned graph. Exporters often fold batch
            normalisation into convolutions, and then its statistics are gone.
        operators: operator -> (number of nodes in the file, whether this package supports it).
    """

    convolutions: int
    batch_norms: int
    operators: dict[str, tuple[int, bool]]


def count_operators(model: ir.Model) -> dict[str, tuple[int, bool]]:
    """Count the operators of a file before it is cleaned, sorted by name.

    Returns:
        Operator, with its domain unless that is ONNX's own -> (number of nodes, whether it is
        supported).
    """
    counts: dict[str, tuple[int, bool]] = {}
    for node in model.graph:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        supported = operator_of(node, model.opset_imports) is not None or node.op_type in ("If", "Loop")
        counts[name] = (counts.get(name, (0, supported))[0] + 1, supported)
    return dict(sorted(counts.items()))


def take_inventory(model: ir.Model, operators: dict[str, tuple[int, bool]]) -> Inventory:
    """Count the layers of a cleaned model.

    Args:
        operators: from ``count_operators``.
    """
    nodes = list(model.graph)
    return Inventory(
        convolutions=sum(node.op_type in ("Conv", "ConvTranspose") for node in nodes),
        batch_norms=sum(node.op_type == "BatchNormalization" for node in nodes),
        operators=operators,
    )
