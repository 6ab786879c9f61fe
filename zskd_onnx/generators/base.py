"""The interface of a generator, a network that makes samples and is trained beside the student without data."""

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

    Training alternates: an iteration has ``updates`` steps of the generator, then ``student_steps``
    steps of the student.

    Attributes:
        latent_dim: length of the noise vectors n ~ N(0, I) from which samples are generated.
        width: number of channels of the generator's first layers. The papers use 128, which takes about
            sixteen times as long as 32.
        output: how the last layer's values become samples. "sigmoid" maps them to (0, 1). "clip" cuts
            them off at 0 and 1, so that a black background is easy to make. "linear" leaves them unbounded,
            as in the papers.
        learning_rate: learning rate of Adam for the generator.
        schedule: learning-rate schedule of the generator: "cosine" decays it to zero over the run,
            "constant" keeps it.
        updates: number of generator steps per iteration, n_G in ABM.
        student_steps: number of student steps per iteration, n_S in ABM.
        fresh_batches: whether each student step gets a new batch from the updated generator. Otherwise all
            student steps of an iteration use the batch of the last generator step, which saves time.
        replay: capacity of the replay buffer: the number of earlier samples that are stored, at most
            256 MiB. Half of each student batch is drawn from it, so the student does not forget what
            the generator no longer makes. The papers have no buffer; 0 turns it off.
        grad_clip: largest norm of the generator's gradient; None does not clip.
    """

    latent_dim: PositiveInt = 100
    width: Annotated[int, Field(ge=4, le=1024)] = 32
    output: Literal["sigmoid", "clip", "linear"] = "sigmoid"
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    updates: PositiveInt = 1
    student_steps: PositiveInt = 10
    fresh_batches: bool = False
    replay: NonNegativeInt = 50_000
    grad_clip: PositiveFloat | None = 5.0

    def probe(self, teacher: Teacher) -> Probe | None:
        """A probe of the teacher's activations that the loss needs; None if it needs logits only.

        Raises:
            UnsupportedTeacherError: the teacher has no such layer.
        """
        return None

    @abstractmethod
    def loss(self, x: Tensor, logits: Tensor, activations: tuple[Tensor, ...], student: nn.Module) -> Tensor:
        """The loss that a generator step minimises, averaged over the batch.

        Args:
            x: samples (N, *shape) in the unit space.
            logits: the teacher's logits (N, K).
            activations: the values of ``probe``; empty without one.
            student: the student in training.
        """
