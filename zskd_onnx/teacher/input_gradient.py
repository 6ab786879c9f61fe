"""Check that a classifier's scores have a gradient in its input, without which no sample can be synthesised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.fx_graph import NodeByNode, describe, operator_name
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.graphs import Graphs
from zskd_onnx.teacher.signature.domain import Domain

LOOKUPS = ("Gather", "GatherND", "GatherElements", "OneHot")
"""Operators that look up rows by integers."""

STEPS = ("Round", "Floor", "Ceil", "Sign")
"""Operators that torch differentiates, with a gradient of zero everywhere."""

SAMPLES = 8
"""Number of random samples on which the gradient must be zero before a classifier with ``STEPS`` is refused."""


def check_input_gradient(graphs: Graphs, domain: Domain) -> None:
    """Refuse a classifier whose scores do not change with small changes of its input.

    On torch's meta device, which computes nothing, autograd shows whether a differentiable path leads from the
    input to the scores. Only if there is one, and steps such as Round lie in the graph, is the gradient
    computed. So a net whose units are all inactive on the samples is not refused.

    Raises:
        UnsupportedTeacherError: the gradient is zero; the message names the node.
    """
    watched = _Watch(graphs.scores)
    shape = domain.file_shape(graphs.batch or 2)
    with torch.device("meta"):
        scores = watched.run(torch.empty(shape, dtype=domain.torch_dtype, requires_grad=True))
    if not scores.requires_grad:
        raise UnsupportedTeacherError(_why_not(watched))
    steps = [node for node in watched.passed if operator_name(node) in STEPS]
    if steps and not _changes(graphs, domain):
        raise UnsupportedTeacherError(
            f"{describe(steps[0])}: it makes the scores constant around each of {SAMPLES} random samples, so their gradient "
            "in the input is zero; export the model without it"
        )


class _Watch(NodeByNode):
    """Runs a graph on the meta device.

    Attributes:
        passed: nodes whose result has a gradient.
        stopped: nodes where the gradient ends: an input has one, the result has none.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.passed: list[fx.Node] = []
        self.stopped: list[fx.Node] = []

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if _has_gradient(result):
            self.passed.append(n)
        elif isinstance(result, Tensor) and any(_has_gradient(self.env[before]) for before in n.all_input_nodes):
            self.stopped.append(n)
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Tensor:
        weight: Tensor = self.fetch_attr(target)
        return torch.empty_strided(weight.shape, weight.stride(), dtype=weight.dtype, device="meta")


def _has_gradient(value: object) -> bool:
    values = value if isinstance(value, (tuple, list)) else [value]
    return any(isinstance(x, Tensor) and x.requires_grad for x in values)


def _why_not(watched: _Watch) -> str:
    """The message for scores that no differentiable path leads to."""
    if not watched.stopped:
        return "the scores do not depend on the input; export the model again"
    first = watched.stopped[0]
    readers = [n for n in watched.module.graph.nodes if operator_name(n) in LOOKUPS and n not in watched.passed]  # type: ignore[union-attr]
    if readers:
        return (
            f"{describe(first)}: it makes integers of the input, which {describe(readers[0])} looks up like token ids, so "
            "the scores have no gradient in the input; export the part of the model behind the embedding"
        )
    return (
        f"{describe(first)}: its result has no gradient, and nothing else leads from the input to the scores; "
        "export the model without it"
    )


def _changes(graphs: Graphs, domain: Domain) -> bool:
    """Whether the gradient of the scores is other than zero on any of some random samples."""
    unit = torch.rand((SAMPLES, *domain.shape), generator=rng_for(0, "gradient"), requires_grad=True)
    scores = graphs.run_scores(domain.to_file(unit)).float()
    weights = torch.randn(scores.shape, generator=rng_for(0, "gradient weights"))
    (gradient,) = torch.autograd.grad((scores * weights).sum(), unit)
    return bool((gradient != 0).any())
