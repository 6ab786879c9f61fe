"""What a generator is: a net that makes samples, trained beside the student, without data."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from zskd_onnx.settings import Settings
from zskd_onnx.teacher.probes.probe import Probe
from zskd_onnx.teacher.teacher import Teacher


class Generator(Settings):
    """A way to train a generator, with its parameters as fields.

    Attributes:
        noise: length of the vectors n ~ N(0, I) that it starts from.
        width: channels of its first layers; 128 is the papers'.
        output: "sigmoid" and "clip" keep samples in the domain, "linear" feeds the last batch normalisation's
            values as the papers do.
        learning_rate: of Adam.
        schedule: what becomes of the rate over the run.
        updates: generator steps in an iteration, n_G.
        student_steps: steps of the student in an iteration, n_S.
        fresh: whether each of those has a batch of its own, from the updated generator; otherwise all
            take the samples of the (last) generator step.
        memory: samples of earlier generator steps that are kept, the oldest making room, as many as 256 MiB
            hold; half of what the student sees is drawn from them. Not in the papers: without it a student forgets
            what the generator no longer shows. 0 for none.
        clip: largest norm of the gradient; None leaves it.
    """

    noise: PositiveInt = 100
    width: Annotated[int, Field(ge=4, le=1024)] = 128
    output: Literal["sigmoid", "clip", "linear"] = "sigmoid"
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    updates: PositiveInt = 1
    student_steps: PositiveInt = 10
    fresh: bool = False
    memory: NonNegativeInt = 0
    clip: PositiveFloat | None = 5.0

    def probe(self, teacher: Teacher) -> Probe | None:
        """What the loss wants to know of the teacher beside its logits.

        Raises:
            UnsupportedTeacherError: the teacher has no such layer.
        """
        return None

    @abstractmethod
    def loss(self, x: Tensor, logits: Tensor, inner: tuple[Tensor, ...], student: nn.Module) -> Tensor:
        """What a generator step makes smaller, mean over the batch.

        Args:
            x: samples (N, *shape) in the unit space.
            logits: the teacher's, (N, K).
            inner: what ``probe`` looks at.
        """
