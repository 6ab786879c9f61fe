"""Training of a generator beside the student, and the batches that it makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.generators.base import Generator
from zskd_onnx.generators.network import build_generator
from zskd_onnx.generators.replay import ReplayBuffer
from zskd_onnx.system.process_group import own_share, sum_gradients
from zskd_onnx.system.randomness import rng_for, seed_for
from zskd_onnx.system.synchronised_normalisation import synchronised_normalisation
from zskd_onnx.teacher.probes.outputs import Outputs, TeacherView
from zskd_onnx.teacher.teacher import Teacher

Augment = Callable[[Tensor], Tensor]
"""An augmentation of samples of the unit space."""


class GeneratorTraining:
    """A generator that is trained at the start of each iteration and makes the student's batches.

    Samples of a generator step are also used for the student steps, unless the settings ask for fresh
    batches. The teacher's outputs are stored with them, so that a student step runs the student only.
    """

    def __init__(
        self,
        settings: Generator,
        teacher: Teacher,
        view: TeacherView,
        *,
        batch: int,
        steps: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            view: computes the teacher's outputs for the student.
            batch: batch size.
            steps: number of student steps in the whole run.
            seed: seed of the run.
            device: the teacher's device.
        """
        self.settings = settings
        self.teacher = teacher
        self.batch_size = batch
        self._view = view
        self._probe = settings.probe(teacher)
        self._seed, self._device = seed, device
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(seed, "generator"))
            net = build_generator(
                teacher.domain.shape, latent_dim=settings.latent_dim, width=settings.width, output=settings.output
            )
        self.net = net.to(device)
        self._parameters = list(self.net.parameters())
        self._optimiser = torch.optim.Adam(self._parameters, lr=settings.learning_rate, fused=True)
        iterations = max(1, math.ceil(steps / settings.student_steps))
        self._updates = iterations * settings.updates
        self._samples: Tensor | None = None
        self._outputs: Outputs | None = None
        self._replay = ReplayBuffer(settings.replay, teacher.domain.shape, device)

    def batch(self, step: int, student: nn.Module, augment: Augment | None = None) -> tuple[Tensor, Outputs]:
        """Samples (N, *shape) of the unit space and the teacher's outputs for them, for a step of the student.

        The first step of an iteration trains the generator before it.

        Args:
            augment: augmentation of the student's samples; the generator learns from its samples unchanged.
        """
        settings = self.settings
        if step % settings.student_steps == 0:
            for update in range(settings.updates):
                x, logits = self._train(step // settings.student_steps, update, student)
                self._replay.add(x)
            if not settings.fresh_batches:
                self._samples, self._outputs = x, Outputs(logits) if self._view.logits_only else None
        samples = self._fresh(step) if settings.fresh_batches else self._samples
        assert samples is not None
        if self._replay.capacity:
            # The purpose "memory" is part of the seed, so renaming it would change results.
            samples = self._replay.mixed(samples, rng_for(self._seed, "generator", "memory", step, device=self._device))
        if augment is not None:
            samples = augment(samples)
        if samples is not self._samples:
            return samples, self._teacher_outputs(samples)
        if self._outputs is None:
            self._outputs = self._teacher_outputs(samples)
        return samples, self._outputs

    @torch.no_grad()
    def _fresh(self, step: int) -> Tensor:
        """Samples for a step of the student, those that this process takes."""
        noise = self._noise(self.batch_size, "student", step)
        with synchronised_normalisation():
            return self.net(noise[own_share(len(noise))])

    @torch.no_grad()
    def samples(self, count: int, *purpose: object) -> Tensor:
        """Samples (count, *shape) of the unit space from the generator in its present state.

        Args:
            purpose: what they are for; it determines the noise.
        """
        return self.net(self._noise(count, *purpose))

    def _train(self, iteration: int, update: int, student: nn.Module) -> tuple[Tensor, Tensor]:
        """The samples of a generator step and the teacher's logits for them; the step has been taken."""
        settings = self.settings
        noise = self._noise(self.batch_size, "update", iteration, update)
        activations: tuple[Tensor, ...] = ()
        with synchronised_normalisation():
            x = self.net(noise[own_share(len(noise))])
            if self._probe is None:
                logits = self._view.logits(x)
            else:
                logits, activations = self._probe(self.teacher.domain.to_file(x))
                logits = logits.float()
            loss = settings.loss(x, logits, activations, student) * (len(x) / len(noise))
        for parameter, gradient in zip(self._parameters, torch.autograd.grad(loss, self._parameters), strict=True):
            parameter.grad = gradient
        sum_gradients(self._parameters)
        if settings.grad_clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, settings.grad_clip)
        share = (iteration * settings.updates + update) / self._updates
        factor = 0.5 * (1 + math.cos(math.pi * share)) if settings.schedule == "cosine" else 1.0
        for group in self._optimiser.param_groups:
            group["lr"] = settings.learning_rate * factor
        self._optimiser.step()
        return x.detach(), logits.detach()

    @torch.no_grad()
    def _teacher_outputs(self, x: Tensor) -> Outputs:
        return self._view(x)

    def _noise(self, count: int, *purpose: object) -> Tensor:
        rng = rng_for(self._seed, "generator", *purpose, device=self._device)
        return torch.randn((count, self.settings.latent_dim), generator=rng, device=self._device)

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "samples": self._samples,
            "replay": self._replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from ``state_dict``."""
        self.net.load_state_dict(state["net"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._samples, self._outputs = state["samples"], None
        self._replay.load_state_dict(state["replay"])
