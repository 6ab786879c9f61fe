"""Soft targets from a multivariate normal distribution (Wang 2021, eq. 3 to 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.priors.base import Prior, Sampler
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.settings import Requirement
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.probes.penultimate import find_second_last
from zskd_onnx.teacher.teacher import Teacher

CALIBRATION_DRAWS = 2048
BISECTIONS = 40
LARGEST_DEVIATION = 1e6
REDRAWS = 32


class Normal(Prior):
    """s ~ N(0, sigma R) in the space of a layer's outputs; y = softmax of what the layers after it make of s.

    R holds the cosines between the weight rows of that layer (eq. 5). The paper takes mu = 0.

    Attributes:
        layer: "second_last", the fully connected layer before the final one (eq. 7), or "softmax", the
            final one, whose outputs are the logits (eq. 6).
        sigma: variance of each element of s, in the units of the layer; it fits one teacher alone.
            "auto" derives it: with it, the mean largest probability at temperature 1 is ``confidence``.
        confidence: see ``sigma``. With 0.9 the targets of two LeNet-5 have a mean largest probability of
            0.21 at temperature 20, and their answers to real digits 0.28 and 0.35; 0.92 to 0.96 gives that.
        balanced: draws are repeated until every class is the winner equally often; the paper takes
            them as they come, and some classes then get a third of others.
        activation: whether s passes what stands between the two layers; False takes s for the final
            layer's input. The paper leaves it open.
        temperature: tau of the targets; a recipe takes that of its synthesis.
    """

    kind: Literal["normal"] = "normal"
    layer: Literal["second_last", "softmax"] = "second_last"
    sigma: PositiveFloat | Literal["auto"] = "auto"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    balanced: bool = True
    activation: bool = True
    temperature: PositiveFloat = 20.0

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        return {"head": "layer"} if self.layer == "softmax" else {"head": "layer", "second_last": "layer"}

    def sampler(self, teacher: Teacher) -> Sampler:
        """See ``Prior.sampler``."""
        weight, logits = self._space(teacher)
        root = covariance_root(class_similarity(weight))
        deviation = self.deviation(teacher)

        def answers(count: int, generator: torch.Generator) -> Tensor:
            return logits(deviation * draw_normal(root, count, generator))

        def draw(first: int, count: int, generator: torch.Generator) -> Tensor:
            if self.balanced:
                z = _stratified(answers, torch.arange(first, first + count) % teacher.classes, generator)
            else:
                z = answers(count, generator)
            return (z / self.temperature).softmax(1)

        return draw

    def deviation(self, teacher: Teacher) -> float:
        """sqrt(sigma): as given, or where the mean largest probability at temperature 1 is ``confidence``."""
        if self.sigma != "auto":
            return math.sqrt(self.sigma)
        weight, logits = self._space(teacher)
        s = draw_normal(covariance_root(class_similarity(weight)), CALIBRATION_DRAWS, generator_for(0, "sigma"))

        def confidence(deviation: float) -> float:
            return float(logits(deviation * s).softmax(1).amax(1).mean())

        low, high = 0.0, 1.0
        while confidence(high) < self.confidence:
            low, high = high, 2 * high
            if high > LARGEST_DEVIATION:
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: no prior.sigma makes its answers as sure as prior.confidence "
                    f"({self.confidence}); give a number with --set prior.sigma=..."
                )
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if confidence(middle) < self.confidence else (low, middle)
        return high

    def _space(self, teacher: Teacher) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The weight rows behind R, and how s becomes logits, both on the CPU."""
        if self.layer == "softmax":
            if teacher.head is None:
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: no final fully connected layer was found, which prior.layer 'softmax' needs; "
                    "take the recipe zskd-uniform"
                )
            return teacher.head.weight, lambda s: s
        before = find_second_last(teacher)
        if before is None:
            raise UnsupportedTeacherError(
                f"{teacher.source.path}: no fully connected layer was found before the final one, which prior.layer "
                "'second_last' needs; take the recipe mvn-softmax, or --set prior.layer=softmax"
            )
        device = before.weight.device
        if self.activation:
            return before.weight, lambda s: _float(before.logits(s.to(device)))
        head = teacher.head
        assert head is not None  # there is a layer before it
        return before.weight, lambda s: _float(torch.nn.functional.linear(s.to(device), head.weight, head.bias))


def _stratified(
    answers: Callable[[int, torch.Generator], Tensor], classes: Tensor, generator: torch.Generator
) -> Tensor:
    """Logits (N, K) whose largest is the class asked for; a class that hardly ever wins gets what comes."""
    found = answers(len(classes), generator)
    missing = (found.argmax(1) != classes).nonzero().flatten()
    for _ in range(REDRAWS):
        if not len(missing):
            break
        spare = answers(2 * len(classes), generator)
        order = torch.argsort(spare.argmax(1), stable=True)
        winners = spare.argmax(1)[order]
        # The n-th place that waits for a class takes the n-th draw that the class won.
        wanted = classes[missing]
        rank = (wanted[:, None] == wanted[None, :]).tril(-1).sum(1)
        place = torch.searchsorted(winners, wanted) + rank
        hit = (place < len(order)) & (winners[place.clamp_max(len(order) - 1)] == wanted)
        found[missing[hit]] = spare[order[place[hit]]]
        missing = missing[~hit]
    return found


def _float(logits: Tensor) -> Tensor:
    return logits.detach().to("cpu", torch.float32)


def covariance_root(correlation: Tensor) -> Tensor:
    """A matrix A with A A' = R, for an R that may be singular or slightly indefinite.

    Args:
        correlation: (F, F) in float64.
    """
    values, vectors = torch.linalg.eigh(correlation)
    return vectors * values.clamp_min(0).sqrt()


def draw_normal(root: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, F) draws of N(0, R) in float32, from the root of R."""
    white = torch.randn((count, root.shape[1]), generator=generator, dtype=root.dtype)
    return (white @ root.T).float()
