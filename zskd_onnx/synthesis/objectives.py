"""Loss terms that synthesis minimises.

``target_loss`` and ``activation_loss`` are sums over samples: the gradient of a sample does not depend on
the others, and its weight is the same in any batch. The other terms are means over the batch, as in the
DeepInversion paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def target_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softmax(logits / tau) and soft targets, summed over samples (ZSKD, eq. 6).

    Its gradient is that of KL(y || softmax(z / tau)) in Wang 2021, eq. 8. The two differ by the entropy of
    the targets, which does not depend on the samples.

    Args:
        logits, targets: (N, K).
    """
    return F.cross_entropy(logits / temperature, targets, reduction="sum")


def activation_loss(activations: Tensor) -> Tensor:
    """-|a|_1 / n for the n values of a sample, summed over samples (after Wang 2021, eq. 9).

    The paper prints the norm itself, but its weights (0.05 to 0.1 for layers of very different sizes) suit
    the mean. On LeNet-5 with weight 0.05, the teacher predicts the target's class for 14 % of the samples
    with the norm and for 88 % with the mean; without the term, for 91 %.

    Args:
        activations: output of the last convolution, (N, C, *size).
    """
    return -activations.flatten(1).abs().mean(1).sum()


def total_variation(x: Tensor) -> Tensor:
    """Absolute differences of neighbours along every spatial axis, summed over a sample, averaged over the batch.

    Args:
        x: (N, C, *size). Vectors (N, F) have no neighbours and give 0.
    """
    differences = [x.diff(dim=axis).abs().sum() for axis in range(2, x.ndim)]
    return torch.stack(differences).sum() / len(x) if differences else x.new_zeros(())


def statistics_loss(values: Sequence[Tensor], statistics: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """sum_l |mu_l(x) - mu_l|_2 + |var_l(x) - var_l|_2 over batch normalisations l (Yin 2020, eq. 4).

    Args:
        values: the input of each batch normalisation, (N, C, *size) or (N, C).
        statistics: the stored mean and variance (C,) of each.
    """
    terms = []
    for value, (mean, variance) in zip(values, statistics, strict=True):
        batch_variance, batch_mean = torch.var_mean(value.transpose(0, 1).flatten(1), dim=1, correction=0)
        terms += [torch.linalg.vector_norm(batch_mean - mean), torch.linalg.vector_norm(batch_variance - variance)]
    return torch.stack(terms).sum()


def competition_loss(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """1 - JS(p_T, p_S), mean over the batch: low where teacher and student disagree (Yin 2020, eq. 7-9).

    Args:
        teacher_logits, student_logits: (N, K).
    """
    log_probabilities = teacher_logits.log_softmax(1), student_logits.log_softmax(1)
    mixture = torch.logaddexp(*log_probabilities) - torch.log(teacher_logits.new_tensor(2.0))
    divergences = [F.kl_div(mixture, log, log_target=True, reduction="batchmean") for log in log_probabilities]
    return 1 - torch.stack(divergences).mean()
