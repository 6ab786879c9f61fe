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
    """y ~ Dir(beta * alpha^k), alpha^k from the similarity of class k to the others.

    Attributes:
        beta: scales the concentration; samples take the values in turn. Small values give
            targets near a corner of the simplex, large ones softer targets.
        floor: added to the normalised similarity, because a parameter must be positive. At the paper's 1e-4 the
            class least like k has next to no chance, and its logit is to lie hundreds below the others' at
            temperature 20, which no real sample's does; 0.25 keeps targets to what a teacher can say.
        similarity: False draws from Dir(beta * 1), the ablation of the paper's table 4.
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
        """Classes and betas take turns, so every class gets the same number of each."""
        if self.similarity:
            if teacher.head is None:
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: no final fully connected layer was found, which prior.similarity needs; "
                    "take the recipe zskd-uniform, or --set prior.similarity=false"
                )
            rows = concentration(class_similarity(teacher.head.weight), self.floor).numpy()
        else:
            rows = np.ones((teacher.classes, teacher.classes))

        def draw(first: int, count: int, generator: torch.Generator) -> Tensor:
            sample = np.arange(first, first + count)
            beta = np.asarray(self.beta)[(sample // teacher.classes) % len(self.beta)]
            return sample_dirichlet(beta[:, None] * rows[sample % teacher.classes], generator)

        return draw


def sample_dirichlet(alpha: np.ndarray, generator: torch.Generator) -> Tensor:
    """One draw for each row of alpha, (N, K).

    Normalised in the logarithm: gamma(a) = gamma(a + 1) U^(1/a) underflows for the parameters
    near 1e-5 that unlike classes have.
    """
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    log_gamma = np.log(random.standard_gamma(alpha + 1)) + np.log1p(-random.random(alpha.shape)) / alpha
    log_gamma -= log_gamma.max(axis=1, keepdims=True)
    weights = np.exp(log_gamma)
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()
