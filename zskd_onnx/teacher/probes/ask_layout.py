"""The order of a sequence's axes, where the file shows none: asked of the teacher's input gradient."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.signature.domain import LAYOUTS, Domain

SAMPLES = 64

MARGIN = 0.8
"""Largest ratio of the two axes' roughness from which the smoother one is taken for time.

Of 18 MLPs on three kinds of synthetic signals in both layouts, the ratio was below this in 14, always for the right axis.
"""


def ask_layout(classifier: Classifier) -> Domain:
    """The classifier's input domain, with the layout of a sequence that its gradient shows.

    Signals are smooth in time, and so is what a classifier has learned of them. Channels have no order. So the input gradient
    differs less between neighbours in time than between neighbouring channels.
    """
    domain = classifier.domain
    one_range = len(set(domain.low)) == len(set(domain.high)) == 1
    if len(domain.shape) != 2 or not one_range or min(domain.shape) < 2:
        return domain
    first, second = (roughness(_gradient(classifier), axis) for axis in (1, 2))
    if not min(first, second) < MARGIN * max(first, second):
        return domain
    channels_first, channels_last = LAYOUTS[3]
    layout = channels_last if first < second else channels_first
    shape = domain.shape if layout == domain.layout else domain.shape[::-1]
    return replace(
        domain,
        layout=layout,
        shape=shape,
        low=domain.low[:1],
        high=domain.high[:1],
        layout_source="inferred from the teacher's input gradient",
    )


def roughness(x: Tensor, axis: int) -> float:
    """Mean squared difference of neighbours along an axis, divided by twice the variance: 1 for white noise."""
    return float(x.diff(dim=axis).square().mean() / (2 * x.var()).clamp_min(1e-30))


def _gradient(classifier: Classifier) -> Tensor:
    """The gradient (N, A, B) of a random sum of the scores, for random samples in the file's layout."""
    rng = rng_for(0, "layout")
    x = classifier.domain.to_file(torch.rand((SAMPLES, *classifier.domain.shape), generator=rng)).requires_grad_()
    scores = classifier.scores(x)
    signs = torch.randint(0, 2, scores.shape, generator=rng).to(scores.dtype) * 2 - 1
    (gradient,) = torch.autograd.grad((scores * signs).sum(), x)
    return gradient
