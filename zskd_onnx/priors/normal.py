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
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.penultimate import find_penultimate
from zskd_onnx.teacher.teacher import Teacher

CALIBRATION_DRAWS = 2048
BISECTIONS = 40
MAX_DEVIATION = 1e6
MAX_REDRAWS = 32


class Normal(Prior):
    """s ~ N(0, sigma R), y = softmax(logits(s) / tau), where s is an output of the layer that ``layer`` names.

    R holds the cosine similarities of that layer's weight rows (eq. 5). The mean is 0, as in the paper.

    Attributes:
        kind: selects normal targets.
        layer: layer whose output s is drawn. "penultimate" is the fully connected layer before the
            final one (eq. 7); the layers after it turn s into logits. "softmax" is the final one, and s
            the logits (eq. 6).
        sigma: variance of each element of s, in the units of the layer's output. A number suits one teacher
            only. "auto" chooses it so that the mean largest probability at temperature 1 is ``confidence``.
        confidence: mean largest probability at temperature 1 that ``sigma: auto`` aims at. Targets of
            two LeNet-5 with 0.9 have a mean largest probability of 0.21 at temperature 20, and the
            teachers' answers to real digits 0.28 and 0.35; 0.92 to 0.96 matches these.
        balanced: whether draws are repeated until each class has the largest probability equally often. The
            paper does not repeat them; some classes are then three times as frequent as others.
        activation: whether s passes the operations between the penultimate and the final layer, such as
            ReLU. False takes s as the final layer's input. The paper leaves this open. It has no effect
            with ``layer: softmax``.
        temperature: softmax temperature tau of the targets. In a recipe its default is the temperature
            of the synthesis.
    """

    kind: Literal["normal"] = "normal"
    layer: Literal["penultimate", "softmax"] = "penultimate"
    sigma: PositiveFloat | Literal["auto"] = "auto"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    balanced: bool = True
    activation: bool = True
    temperature: PositiveFloat = 20.0

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        return {"head": "layer"} if self.layer == "softmax" else {"head": "layer", "penultimate": "layer"}

    def sampler(self, teacher: Teacher) -> Sampler:
        """See ``Prior.sampler``."""
        weight, to_logits = self._layer(teacher)
        root = covariance_root(class_similarity(weight))
        deviation = self.deviation(teacher)

        def draw_logits(count: int, rng: torch.Generator) -> Tensor:
            return to_logits(deviation * draw_normal(root, count, rng))

        def draw(first: int, count: int, rng: torch.Generator) -> Tensor:
            if self.balanced:
                z = _draw_stratified(draw_logits, torch.arange(first, first + count) % teacher.classes, rng)
            else:
                z = draw_logits(count, rng)
            return (z / self.temperature).softmax(1)

        return draw

    def deviation(self, teacher: Teacher) -> float:
        """The standard deviation sqrt(sigma) of each element of s, for a teacher.

        Raises:
            UnsupportedTeacherError: ``sigma`` is "auto", and no value reaches ``confidence``.
        """
        if self.sigma != "auto":
            return math.sqrt(self.sigma)
        weight, to_logits = self._layer(teacher)
        s = draw_normal(covariance_root(class_similarity(weight)), CALIBRATION_DRAWS, rng_for(0, "sigma"))

        def confidence(deviation: float) -> float:
            return float(to_logits(deviation * s).softmax(1).amax(1).mean())

        low, high = 0.0, 1.0
        while confidence(high) < self.confidence:
            low, high = high, 2 * high
            if high > MAX_DEVIATION:
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: no prior.sigma gives a mean confidence of {self.confidence} "
                    "(prior.confidence); set a number with --set prior.sigma=..."
                )
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if confidence(middle) < self.confidence else (low, middle)
        return high

    def _layer(self, teacher: Teacher) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The layer's weights, and a function from its output s to logits on the CPU."""
        if self.layer == "softmax":
            if teacher.head is None:
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: no final fully connected layer was found, which prior.layer 'softmax' "
                    "needs; use the recipe zskd-uniform"
                )
            return teacher.head.weight, teacher.head.to_logits
        penultimate = find_penultimate(teacher)
        if penultimate is None:
            raise UnsupportedTeacherError(
                f"{teacher.source.path}: no fully connected layer was found before the final one, which prior.layer "
                "'penultimate' needs; use the recipe mvn-softmax, or --set prior.layer=softmax"
            )
        device = penultimate.weight.device
        if self.activation:
            return penultimate.weight, lambda s: _on_cpu(penultimate.logits(s.to(device)))
        head = teacher.head
        assert head is not None  # the penultimate layer precedes it
        return penultimate.weight, lambda s: _on_cpu(
            head.to_logits(torch.nn.functional.linear(s.to(device), head.weight, head.bias))
        )


def _draw_stratified(
    draw_logits: Callable[[int, torch.Generator], Tensor], classes: Tensor, rng: torch.Generator
) -> Tensor:
    """Logits (N, K) with the largest value at the requested classes (N,).

    A class that is hardly ever the largest may keep draws of other classes.
    """
    logits = draw_logits(len(classes), rng)
    missing = (logits.argmax(1) != classes).nonzero().flatten()
    for _ in range(MAX_REDRAWS):
        if not len(missing):
            break
        spare = draw_logits(2 * len(classes), rng)
        order = torch.argsort(spare.argmax(1), stable=True)
        winners = spare.argmax(1)[order]
        # The n-th row that lacks a class takes the n-th spare draw of that class.
        requested = classes[missing]
        rank = (requested[:, None] == requested[None, :]).tril(-1).sum(1)
        position = torch.searchsorted(winners, requested) + rank
        hit = (position < len(order)) & (winners[position.clamp_max(len(order) - 1)] == requested)
        logits[missing[hit]] = spare[order[position[hit]]]
        missing = missing[~hit]
    return logits


def _on_cpu(logits: Tensor) -> Tensor:
    return logits.detach().to("cpu", torch.float32)


def covariance_root(correlation: Tensor) -> Tensor:
    """A matrix A with A A^T = R, for an R that may be singular or slightly indefinite.

    Args:
        correlation: the matrix R, (F, F) in float64.
    """
    values, vectors = torch.linalg.eigh(correlation)
    return vectors * values.clamp_min(0).sqrt()


def draw_normal(root: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Draws (count, F) from N(0, R) in float32.

    Args:
        root: a root (F, F) of R, from ``covariance_root``.
    """
    white = torch.randn((count, root.shape[1]), generator=rng, dtype=root.dtype)
    return (white @ root.T).float()
