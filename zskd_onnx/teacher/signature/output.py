"""The output of a classifier's file, which a student must reproduce."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zskd_onnx.teacher.signature.trace_output import Mix

Names = tuple[int, ...] | tuple[str, ...]
"""Class labels in order, as numbers or strings."""

LEAST_PROBABILITY = 1e-7
"""Smallest probability whose logarithm is taken; smaller ones are raised to it."""


@dataclass(frozen=True)
class Output:
    """The output with the classes, and its map to logits.

    Attributes:
        name: the output's name in the file.
        kind: what the values are:

            - "logits";
            - "softmax" or "log_softmax" of the logits;
            - "sigmoid": sigmoid(l1 - l0), the probability of the second of two classes;
            - "normalized_sigmoid": the sigmoid of each logit divided by their sum, as one-vs-rest
              models compute;
            - "probabilities": values that sum to one, computed in an unknown way; the logits are
              their logarithms.

        shape: shape of one sample, (K,) or (K, 1, ...); (1,) or () for "sigmoid".
        classes: number of classes, K.
        dtype: element type in the file.
        mix: matrix (K, J) that computes the logits from J scores of the graph. None if the scores are the
            logits, or probabilities: for "probabilities", and for a "sigmoid" that is a mean of sigmoids.
        notes: what was decided about the output, in words.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    classes: int
    dtype: torch.dtype = torch.float32
    mix: Mix | None = None
    notes: tuple[str, ...] = ()

    def to_logits(self, scores: Tensor) -> Tensor:
        """Return logits (N, K) from scores (N, J) of the graph."""
        if self.kind == "probabilities":
            return scores.clamp_min(LEAST_PROBABILITY).log()
        if self.kind == "sigmoid" and self.mix is None:
            return torch.cat([1 - scores, scores], 1).clamp_min(LEAST_PROBABILITY).log()
        if self.mix is None:
            return scores
        return scores @ torch.tensor(self.mix, dtype=scores.dtype, device=scores.device).T

    def winners(self, values: np.ndarray) -> np.ndarray:
        """Return the predicted class numbers (N,) from values (N, *shape) of the file's output."""
        flat = values.reshape(len(values), -1)
        return (flat[:, 0] > 0.5).astype(np.int64) if self.kind == "sigmoid" else flat.argmax(1)

    def log_probabilities(self, values: np.ndarray) -> Tensor:
        """Return the logarithms of the class probabilities (N, K) from values (N, *shape) of the file's output."""
        flat = torch.from_numpy(values).float().reshape(len(values), -1)
        if self.kind == "logits":
            return flat.log_softmax(1)
        if self.kind == "log_softmax":
            return flat
        if self.kind == "sigmoid":
            flat = torch.cat([1 - flat, flat], 1)
        return flat.clamp_min(LEAST_PROBABILITY).log()

    def from_logits(self, logits: Tensor) -> Tensor:
        """Return the file's output (N, *shape) for logits (N, K)."""
        match self.kind:
            case "softmax" | "probabilities":
                logits = logits.softmax(1)
            case "log_softmax":
                logits = logits.log_softmax(1)
            case "sigmoid":
                logits = (logits[:, 1:] - logits[:, :1]).sigmoid()
            case "normalized_sigmoid":
                sigmoids = logits.sigmoid()
                logits = sigmoids / sigmoids.sum(1, keepdim=True)
        values = logits if len(self.shape) == 1 else logits.reshape(-1, *self.shape)
        return values.to(self.dtype)


@dataclass(frozen=True)
class Labels:
    """An output that holds the label of the predicted class.

    Attributes:
        name: the output's name in the file.
        dtype: "int64", "int32" or "string".
        shape: shape of one sample, () or (1,).
        names: label of each class, in order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: Names
