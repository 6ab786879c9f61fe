"""How a student is trained."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.settings import Settings

Source = Literal["transfer_set", "generator", "data"]
"""Where samples of a batch come from: synthesised before, made by a generator, or the user's real ones."""


class Distillation(Settings):
    """How the student is trained (ZSKD, eq. 2).

    Attributes:
        epochs: passes over the stored samples.
        epoch_samples: how many samples make an epoch; default: all that are stored. A few real samples
            take the size of the set that they were drawn from, so that the number of steps does not
            depend on how few they are (ABM's replication, eq. 4); a generator stores none and needs it.
        batch_size: samples in a step.
        vector_batch_size: the same where samples are vectors; None takes ``batch_size``. They are cheap, and
            students of them learn from the number of steps.
        mixture: share of each batch from each source; default: equal shares of what the recipe has.
        optimiser: "adamw" (Loshchilov & Hutter 2019), which is Adam where nothing decays, or "sgd" with Nesterov's momentum of 0.9.
        learning_rate: of the optimiser; the peak where the schedule has one.
        schedule: "one_cycle" (Smith & Topin 2018), "cosine" to zero, "steps", a fifth of itself after 0.3, 0.6 and 0.8 of the
            steps (Zagoruyko & Komodakis 2016, as ABM's replication trains on real samples), or "constant".
        weight_decay: of AdamW, or the L2 term of SGD.
        clip: largest norm of the gradient; None leaves it.
        temperature: tau of the soft targets.
        labels: weight of the cross-entropy with real labels, lambda; where samples have none, it is not
            taken. Hinton's term in ZSKD's eq. 2.
        attention: weight of attention transfer, beta_AT (ABM, eq. 2), over blocks of teacher and student
            that have one spatial size.
        hints: weight of hints (Romero et al. 2015, eq. 3): what the student's final fully connected layer reads is to tell
            what the teacher's reads, by a linear map that learns beside it. The difference is a share of the variance of
            the teacher's features. With ``init: auto`` for students that inherit alone.
        augmentation: what happens to samples, stored or generated, before the student sees them and the teacher
            answers; a generator learns from its own as they are.
        checks: how often, over the run, the student is measured on held-out samples; the best measured
            is kept. 0 keeps the last.
        patience: checks without a better student after which training ends; None trains to the end.
    """

    epochs: Annotated[int, Field(gt=0, le=10**6)] = 50
    epoch_samples: Annotated[int, Field(gt=0, le=10**9)] | None = None
    batch_size: PositiveInt = 512
    vector_batch_size: PositiveInt | None = None
    mixture: dict[Source, Annotated[float, Field(gt=0)]] | None = None
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 0.01
    schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"
    weight_decay: NonNegativeFloat = 0.0
    clip: PositiveFloat | None = None
    temperature: PositiveFloat = 1.0
    labels: NonNegativeFloat = 0.0
    attention: NonNegativeFloat = 0.0
    hints: NonNegativeFloat = 0.0
    augmentation: Augmentation = Augmentation()
    checks: NonNegativeInt = 20
    patience: PositiveInt | None = None

    @model_validator(mode="after")
    def _patience_needs_checks(self) -> Distillation:
        if self.patience is not None and not self.checks:
            raise ValueError("patience counts checks; set checks above 0, or leave patience out")
        return self

    def fitted(self, shape: tuple[int, ...]) -> Distillation:
        """As it is for samples of a shape."""
        if len(shape) > 1 or self.vector_batch_size is None:
            return self
        return self.model_copy(update={"batch_size": self.vector_batch_size})

    def steps(self, samples: int) -> int:
        """Optimiser steps where so many samples are stored."""
        return self.epochs * max(1, math.ceil((self.epoch_samples or samples) / self.batch_size))

    def shares(self, sources: tuple[Source, ...]) -> dict[Source, int]:
        """Samples of a batch from each source; they sum to the batch size.

        Sources that the mixture does not name give none; names without a source are passed over.
        """
        weights = {name: (self.mixture or {}).get(name, 0.0 if self.mixture else 1.0) for name in sources}
        total = sum(weights.values())
        ends = [0.0]
        for name in sources:
            ends.append(ends[-1] + (weights[name] if total else 0.0))
        bounds = [round(self.batch_size * end / (total or 1.0)) for end in ends]
        return {name: bounds[i + 1] - bounds[i] for i, name in enumerate(sources)}
