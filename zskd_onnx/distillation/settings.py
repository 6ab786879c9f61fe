"""Recipe fields of a training stage."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.settings import Settings

SampleKind = Literal["transfer_set", "data", "procedural", "generator"]
"""Where samples of a batch come from: a transfer set, the user's real samples, procedural images, a generator."""


Precision = Literal["auto", "float32", "bfloat16"]
"""The arithmetic of training; "auto" is settled by ``choose_precision``."""


class LossWeights(Settings):
    """Weights of the loss terms beside the soft-target loss, which has weight 1.

    Attributes:
        labels: weight of the cross-entropy with the labels of real samples, lambda (ZSKD, eq. 2, after Hinton
            et al. 2015). Samples without a label do not count.
        attention: weight of attention transfer, beta_AT (ABM, eq. 2), between activation maps of teacher and
            student that have the same spatial size. Students that are ONNX graphs have no such term.
        features: weight of feature distillation (FitNets, Romero et al. 2015, eq. 3): the input of the student's
            final fully connected layer is to predict the teacher's by a linear map that is trained beside it.
            With ``init: auto`` only pruned students have this term. Students that are ONNX graphs have none: with it,
            thinned students of digits agreed with their teacher on 96.0 % of held-out samples, without it on 96.9.
        blocks: weight of block matching: the outputs of the blocks of a thinned student are to equal the teacher's
            in the channels that remain. Default: 20 for natural images, which samples resemble little, and 0 for
            other inputs.
    """

    labels: NonNegativeFloat = 0.0
    attention: NonNegativeFloat = 0.0
    features: NonNegativeFloat = 0.0
    blocks: NonNegativeFloat | None = None


class Distillation(Settings):
    """How the student is trained (ZSKD, eq. 2).

    Attributes:
        epochs: passes over the stored samples.
        epoch_samples: samples in an epoch; default: all stored samples. A generator stores none and needs it. A
            few real samples take the size of the set that they come from, so that the number of steps does not
            depend on how few they are (Ferles et al. 2020, eq. 4).
        batch_size: samples in a step.
        vector_batch_size: the same for teachers of vectors; None takes ``batch_size``. Vectors are cheap, and
            students of them gain from more steps.
        mixture: share of each batch from each kind of samples. Default: procedural images as section
            ``procedural`` says, and equal shares of the rest from the other kinds.
        optimiser: "adamw" (Loshchilov & Hutter 2019), or "sgd" with Nesterov momentum 0.9.
        learning_rate: of the optimiser; the peak where the schedule has one.
        schedule: "one_cycle" (Smith & Topin 2018), "cosine" to zero, "steps" (a fifth after 0.3, 0.6 and 0.8 of
            the steps, Zagoruyko & Komodakis 2016), or "constant".
        weight_decay: of AdamW, or the L2 term of SGD.
        grad_clip: largest norm of the gradient; None does not clip.
        temperature: tau of the soft targets.
        loss_weights: weights of the other loss terms.
        augmentation: random changes of samples before student and teacher see them. A generator learns from its
            samples unchanged.
        validations: number of validations on held-out samples in the stage; the best student is kept. 0 keeps
            the last.
        patience: validations without a better student after which training ends; None trains to the end.
        precision: number type of the convolutions and matrix products of training, "float32" or "bfloat16". "auto" takes
            bfloat16 on CPUs with instructions for it, for costly teachers whose answers it hardly changes.
            Weights, normalisation and losses are float32 in either case, and so is the exported student.
    """

    epochs: Annotated[int, Field(gt=0, le=10**6)] = 50
    epoch_samples: Annotated[int, Field(gt=0, le=10**9)] | None = None
    batch_size: PositiveInt = 128
    vector_batch_size: PositiveInt | None = None
    mixture: dict[SampleKind, Annotated[float, Field(gt=0)]] | None = None
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 0.01
    schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"
    weight_decay: NonNegativeFloat = 0.0
    grad_clip: PositiveFloat | None = None
    temperature: PositiveFloat = 4.0
    loss_weights: LossWeights = LossWeights()
    augmentation: Augmentation = Augmentation()
    validations: NonNegativeInt = 20
    patience: PositiveInt | None = None
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _patience_needs_validations(self) -> Distillation:
        if self.patience is not None and not self.validations:
            raise ValueError("patience needs validations above 0; set validations, or remove patience")
        return self

    def for_shape(self, shape: tuple[int, ...]) -> Distillation:
        """The same with the batch size for samples of a shape."""
        if len(shape) > 1 or self.vector_batch_size is None:
            return self
        return self.model_copy(update={"batch_size": self.vector_batch_size})

    def steps(self, samples: int) -> int:
        """Number of optimiser steps for a number of stored samples."""
        return self.epochs * max(1, math.ceil((self.epoch_samples or samples) / self.batch_size))

    def shares(self, kinds: tuple[SampleKind, ...], procedural: float = 0.0) -> dict[SampleKind, int]:
        """Number of samples of a batch from each kind; they sum to the batch size.

        Kinds that ``mixture`` does not name get none; names of kinds that are absent are ignored.

        Args:
            kinds: those of the run, in the order of a batch.
            procedural: share of procedural images without a ``mixture``.
        """
        others = [kind for kind in kinds if kind != "procedural"]
        if self.mixture:
            weights = {kind: self.mixture.get(kind, 0.0) for kind in kinds}
        elif len(others) == len(kinds) or not others:
            weights = dict.fromkeys(kinds, 1.0)
        else:
            weights = {kind: (1.0 - procedural) / len(others) for kind in others} | {"procedural": procedural}
        total = sum(weights.values())
        ends = [0.0]
        for kind in kinds:
            ends.append(ends[-1] + (weights[kind] if total else 0.0))
        bounds = [round(self.batch_size * end / (total or 1.0)) for end in ends]
        return {kind: bounds[i + 1] - bounds[i] for i, kind in enumerate(kinds)}
