"""Inference of whether a teacher's inputs are natural images, from its predictions on procedural images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import COLOURS, dead_leaves
from zskd_onnx.procedural.level_lines import level_lines
from zskd_onnx.procedural.settings import Draw, has_all_kinds
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.procedural_answers import affordable_images, procedural_logits
from zskd_onnx.teacher.teacher import Teacher

MARGIN = 1.1
"""Ratio of mutual information above which the default by number of channels is overridden."""

MIN_INFORMATION = 0.05
"""Mutual information, nats, at or below which the teacher separates neither kind of image."""

COUNT = 128
"""Most images of each kind."""


def infer_natural_images(teacher: Teacher) -> bool | None:
    """Whether a teacher's inputs are natural images, inferred from its predictions.

    A teacher separates images better that are nearer to its training data, whatever classes it gives them. Level-set
    lines are nearer to drawings, dead leaves to natural images. Inputs with three channels count as natural images,
    and others as drawings, unless the mutual information of the other kind is larger by ``MARGIN``.

    Mutual information of level-set lines and dead leaves, nats: MNIST 1.4 and 0.7, two digits of a hundred classes
    2.4 and 1.2, CIFAR-10 0.7 and 0.8, CIFAR-10 in grey 0.6 and 0.8.

    For a costly teacher the number of channels decides, see ``affordable_images``.

    Returns:
        None for inputs that are not images, and for images with a side below 16, which are too small for either kind.
    """
    shape = teacher.domain.shape
    if not has_all_kinds(shape):
        return None
    in_colour = shape[0] == COLOURS
    count = affordable_images(teacher, kinds=2, most=COUNT)
    if not count:
        return in_colour
    # The purpose of the draws keeps its first name, so that old runs repeat.
    lines, leaves = (
        mutual_information(teacher, draw, count, rng_for(0, "photographs")) for draw in (level_lines, dead_leaves)
    )
    if not (math.isfinite(lines + leaves) and max(lines, leaves) > MIN_INFORMATION):
        return in_colour
    return lines <= MARGIN * leaves if in_colour else leaves > MARGIN * lines


def mutual_information(teacher: Teacher, draw: Draw, count: int, rng: torch.Generator) -> float:
    """Mutual information between an image and the teacher's class, in nats, over ``count`` images.

    It is the entropy of the mean prediction minus the mean entropy of the predictions.

    Args:
        draw: draws the images.
        rng: on the CPU.
    """
    probabilities = procedural_logits(teacher, draw, count, rng).softmax(1)
    return float(_entropy(probabilities.mean(0)) - _entropy(probabilities).mean())


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)
