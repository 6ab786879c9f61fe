"""Procedural images that the teacher already takes for the classes that samples are made for.

Of images as they are drawn, some classes get few: a teacher of clothes took 40 % of objects for bags and 1 % for trousers. A
student that has seen little of a class confuses it with others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.teacher.probes.outputs import TeacherView


@torch.no_grad()
def choose_starts(
    images: DrawnImages, view: TeacherView, classes: Tensor, candidates: int, rng: torch.Generator, batch_size: int
) -> Tensor:
    """One procedural image for each class that is given.

    For each class, images come first that the teacher predicts as it, as they are drawn; then those to which it gives
    the class the highest probability.

    Args:
        classes: (N,), on the device of ``rng``.
        candidates: number of images that are drawn for each one that is kept.
        rng: random generator on the teacher's device.
        batch_size: of the teacher's predictions.

    Returns:
        (N, *shape) in [0, 1].
    """
    count, device = len(classes), classes.device
    kept, held = torch.zeros((count, *images.shape), device=device), torch.full((count,), -1.0, device=device)
    for _ in range(candidates):
        drawn = images.draw(count, rng)
        drawn = drawn[torch.randperm(count, generator=rng, device=device)]  # kinds come one after another
        scores = torch.cat([_scores(view, part) for part in drawn.split(batch_size)])
        pool = torch.cat([kept, drawn])
        taken = torch.empty(count, dtype=torch.long, device=device)
        for number in classes.unique():
            rows = (classes == number).nonzero().flatten()
            choices = torch.cat([rows, torch.arange(count, 2 * count, device=device)])
            values = torch.cat([held[rows], scores[:, number]])
            best = values.sort(descending=True, stable=True).indices[: len(rows)]
            taken[rows], held[rows] = choices[best], values[best]
        kept = pool[taken]
    return kept


def _scores(view: TeacherView, x: Tensor) -> Tensor:
    """The teacher's probabilities (N, K), but 1 for the class that it predicts, so that confident images are no better."""
    probabilities = view.logits(x).softmax(1)
    return probabilities.scatter(1, probabilities.argmax(1, keepdim=True), 1.0)
