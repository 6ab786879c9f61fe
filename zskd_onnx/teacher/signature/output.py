"""What a classifier's file gives, and so what a student in its place must give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zskd_onnx.teacher.signature.find_output import Mix

Names = tuple[int, ...] | tuple[str, ...]

LEAST_PROBABILITY = 1e-7
"""What a probability of zero counts as where logits are its logarithm."""


@dataclass(frozen=True)
class Output:
    """What the file gives, and so what a student in its place must give.

    Attributes:
        name: the output's name.
        kind: what its values are:

            - "logits";
            - "softmax", "log_softmax" of logits;
            - "sigmoid": sigmoid(l1 - l0), the probability of the second of two classes;
            - "normalized_sigmoid": each logit's sigmoid over their sum, as one-vs-rest models have;
            - "probabilities" that sum to one, of unknown making: logits are their logarithm.

        shape: of one sample, (K,) or with ones behind it; (1,) or () for "sigmoid".
        classes: K.
        dtype: element type.
        mix: the matrix (K, J) that makes logits of the graph's J scores; None where they are the same.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    classes: int
    dtype: torch.dtype = torch.float32
    mix: Mix | None = None

    def to_logits(self, scores: Tensor) -> Tensor:
        """The graph's scores (N, J) as logits (N, K)."""
        if self.kind == "probabilities":
            return scores.clamp_min(LEAST_PROBABILITY).log()
        if self.mix is None:
            return scores
        return scores @ torch.tensor(self.mix, dtype=scores.dtype, device=scores.device).T

    def winners(self, values: np.ndarray) -> np.ndarray:
        """Class numbers (N,) from the file's output (N, *shape)."""
        flat = values.reshape(len(values), -1)
        return (flat[:, 0] > 0.5).astype(np.int64) if self.kind == "sigmoid" else flat.argmax(1)

    def from_logits(self, logits: Tensor) -> Tensor:
        """Logits (N, K) as the file gives them, (N, *shape)."""
        match self.kind:
            case "softmax" | "probabilities":
                logits = logits.softmax(1)
            case "log_softmax":
                logits = logits.log_softmax(1)
            case "sigmoid":
                logits = (logits[:, 1:] - logits[:, :1]).sigmoid()
            case "normalized_sigmoid":
                each = logits.sigmoid()
                logits = each / each.sum(1, keepdim=True)
        given = logits if len(self.shape) == 1 else logits.reshape(-1, *self.shape)
        return given.to(self.dtype)


@dataclass(frozen=True)
class Labels:
    """An output that names the winning class.

    Attributes:
        name: the output's name.
        dtype: "int64", "int32" or "string".
        shape: of one sample, () or (1,).
        names: what each class is called there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: Names
