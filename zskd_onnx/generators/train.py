"""Training a generator beside the student, and the batches that it gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.generators.base import Generator
from zskd_onnx.generators.network import build_generator
from zskd_onnx.generators.replay import Memory
from zskd_onnx.system.randomness import generator_for, seed_for
from zskd_onnx.teacher.probes.outputs import Answer, Asking
from zskd_onnx.teacher.teacher import Teacher

Augment = Callable[[Tensor], Tensor]
"""Changes samples of the unit space on their way to the student."""


class GeneratorTraining:
    """A generator that learns whenever it has given the student its batches of an iteration.

    Samples are made once for a generator step; where the student takes the same, they are detached and
    the teacher's answers kept, so that a student step costs the student's own passes alone.
    """

    def __init__(
        self,
        settings: Generator,
        teacher: Teacher,
        ask: Asking,
        *,
        batch: int,
        steps: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            ask: what the student learns from.
            batch: samples in a batch.
            steps: of the student, over the whole run.
            device: the teacher's.
        """
        self.settings = settings
        self.teacher = teacher
        self.batch_size = batch
        self._ask = ask
        self._probe = settings.probe(teacher)
        self._seed, self._device = seed, device
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(seed, "generator"))
            net = build_generator(
                teacher.domain.shape, noise=settings.noise, width=settings.width, output=settings.output
            )
        self.net = net.to(device)
        self._parameters = list(self.net.parameters())
        self._optimiser = torch.optim.Adam(self._parameters, lr=settings.learning_rate, fused=True)
        iterations = max(1, math.ceil(steps / settings.student_steps))
        self._updates = iterations * settings.updates
        self._samples: Tensor | None = None
        self._known: Answer | None = None
        self._memory = Memory(settings.memory, teacher.domain.shape, device)

    def batch(self, step: int, student: nn.Module, augment: Augment | None = None) -> tuple[Tensor, Answer]:
        """Samples (N, *shape) in the unit space and the teacher's answers, for a step of the student.

        Args:
            augment: changes what the student sees; the generator learns from its samples as they are.
        """
        first = step % self.settings.student_steps == 0
        if first:
            for update in range(self.settings.updates):
                x, logits = self._improve(step // self.settings.student_steps, update, student)
                self._memory.add(x)
            if not self.settings.fresh:
                self._samples, self._known = x, Answer(logits) if self._ask.logits_only else None
        samples = self.samples(self.batch_size, "student", step) if self.settings.fresh else self._samples
        assert samples is not None
        if self._memory.capacity:
            samples = self._memory.mixed(
                samples, generator_for(self._seed, "generator", "memory", step, device=self._device)
            )
        if augment is not None:
            samples = augment(samples)
        if samples is not self._samples:
            return samples, self._answer(samples)
        if self._known is None:
            self._known = self._answer(samples)
        return samples, self._known

    @torch.no_grad()
    def samples(self, count: int, *purpose: object) -> Tensor:
        """Samples from the generator as it is."""
        return self.net(self._noise(count, *purpose))

    def _improve(self, iteration: int, update: int, student: nn.Module) -> tuple[Tensor, Tensor]:
        """One generator step; the samples that it was taken on, and the teacher's logits for them."""
        settings = self.settings
        x = self.net(self._noise(self.batch_size, "update", iteration, update))
        file = self.teacher.domain.to_file(x)
        logits, inner = (self.teacher.logits(file), ()) if self._probe is None else self._probe(file)
        loss = settings.loss(x, logits.float(), inner, student)
        for parameter, gradient in zip(self._parameters, torch.autograd.grad(loss, self._parameters), strict=True):
            parameter.grad = gradient
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, settings.clip)
        share = (iteration * settings.updates + update) / self._updates
        rate = 0.5 * (1 + math.cos(math.pi * share)) if settings.schedule == "cosine" else 1.0
        for group in self._optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate
        self._optimiser.step()
        return x.detach(), logits.detach().float()

    @torch.no_grad()
    def _answer(self, x: Tensor) -> Answer:
        return self._ask(x)

    def _noise(self, count: int, *purpose: object) -> Tensor:
        generator = generator_for(self._seed, "generator", *purpose, device=self._device)
        return torch.randn((count, self.settings.noise), generator=generator, device=self._device)

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on from here."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "samples": self._samples,
            "memory": self._memory.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._samples, self._known = state["samples"], None
        self._memory.load_state_dict(state["memory"])
