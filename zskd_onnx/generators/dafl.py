"""Data-free learning: a generator trained on the fixed teacher (Chen et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from zskd_onnx.generators.base import Generator
from zskd_onnx.settings import Requirement
from zskd_onnx.teacher.probes.probe import Probe, features_probe
from zskd_onnx.teacher.teacher import Teacher


class DataFreeLearning(Generator):
    """The generator minimises one_hot CE(z, argmax z) - activation |h|_1 / n + balance sum_k p_k log p_k.

    So the teacher is confident in each sample, its features are large, and each batch covers all
    classes (Chen et al. 2019, eq. 4 to 7). z are the teacher's logits, and p is the mean of softmax(z)
    over the batch. h is the input of the final fully connected layer; its L1 norm is averaged over
    features, as in the authors' code.

    Attributes:
        kind: selects data-free learning.
        one_hot: weight of the term that makes the teacher confident in each sample.
        activation: weight of the term that makes features large. 0 leaves it out; otherwise the teacher
            must have a final fully connected layer.
        balance: weight of the term that makes classes equally frequent in a batch.
    """

    kind: Literal["dafl"] = "dafl"
    one_hot: NonNegativeFloat = 1.0
    activation: NonNegativeFloat = 0.1
    balance: NonNegativeFloat = 5.0

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        return {"head": "activation"} if self.activation else {}

    def probe(self, teacher: Teacher) -> Probe | None:
        """See ``Generator.probe``."""
        return features_probe(teacher) if self.activation else None

    def loss(self, x: Tensor, logits: Tensor, activations: tuple[Tensor, ...], student: nn.Module) -> Tensor:
        """See ``Generator.loss``."""
        mean = logits.softmax(1).mean(0)
        loss = self.one_hot * F.cross_entropy(logits, logits.argmax(1))
        loss = loss + self.balance * (mean * mean.clamp_min(1e-12).log()).sum()
        if activations:
            loss = loss - self.activation * activations[0].abs().mean()
        return loss
