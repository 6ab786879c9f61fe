"""Dirichlet soft targets (Nayak et al. 2019, Zero-Shot Knowledge Distillation, section 3.2)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import MinLen
from pydantic import Field, PositiveFloat
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.priors.base import Prior, Sampler
from zskd_onnx.priors.class_similarity import class_similarity, concentration
from zskd_onnx.settings import Requirement
from zskd_onnx.teacher.teacher import Teacher


class Dirichlet(Prior):
    """y ~ Dir(beta * alpha^k), where alpha^k is the normalised similarity of class k to all classes.

    Attributes:
        kind: selects Dirichlet targets.
        beta: scale of the concentration. With several values, samples use them in turn; the paper uses
            1.0 and 0.1. Small values give nearly one-hot targets, large values softer ones.
        floor: positive number added to the normalised similarities; the paper uses 1e-4. With so small
            a floor the least similar class gets a probability near 0. At temperature 20 its logit would
            have to be hundreds below the others, which happens for no real sample. 0.25 gives targets
            that a teacher can reach.
        similarity: whether the concentration comes from the cosine similarity of the class weights,
            which needs a final fully connected layer. False draws from Dir(beta * 1), the ablation of
            the paper's table 4.
    """

    kind: Literal["dirichlet"] = "dirichlet"
    beta: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (1.0, 0.1)
    floor: Annotated[float, Field(gt=0)] = 1e-4
    similarity: bool = True

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        return {"head": "similarity"} if self.similarity else {}

    def sampler(self, teacher: Teacher) -> Sampler:
        """See ``Prior.sampler``. Classes and betas alternate, so every class gets the same number of each."""
        if self.similarity:
            if teacher.head is None:
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: no final fully connected layer was found, which prior.similarity needs; "
                    "use the recipe zskd-uniform, or --set prior.similarity=false"
                )
            rows = concentration(class_similarity(teacher.head.weight), self.floor).numpy()
        else:
            rows = np.ones((teacher.classes, teacher.classes))

        def draw(first: int, count: int, rng: torch.Generator) -> Tensor:
            index = np.arange(first, first + count)
            beta = np.asarray(self.beta)[(index // teacher.classes) % len(self.beta)]
            return sample_dirichlet(beta[:, None] * rows[index % teacher.classes], rng)

        return draw


def sample_dirichlet(alpha: np.ndarray, rng: torch.Generator) -> Tensor:
    """One Dirichlet draw for each row of alpha, (N, K) in float32.

    It is normalised in the log domain, with log gamma(a) = log gamma(a + 1) + log(U) / a: gamma draws
    underflow for parameters near 1e-5, which dissimilar classes have.
    """
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
    log_gamma = np.log(random.standard_gamma(alpha + 1)) + np.log1p(-random.random(alpha.shape)) / alpha
    log_gamma -= log_gamma.max(axis=1, keepdims=True)
    weights = np.exp(log_gamma)
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()
