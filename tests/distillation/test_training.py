"""Training a student on what the teacher says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx import students
from zskd_onnx.demo import held_out_digits
from zskd_onnx.distillation import Augmentation, Distillation, agreement, distil
from zskd_onnx.events import Event, silent
from zskd_onnx.teacher import Teacher


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    """Real digits stand in for impressions: the loop does not care."""
    x, _ = held_out_digits()
    return torch.from_numpy(x / 16).half().contiguous(memory_format=torch.channels_last)


def fresh(seed: int = 0) -> nn.Module:
    return students.build(students.choose("cnn-small", (1, 8, 8), 0), (1, 8, 8), 10, seed)


PLAIN = Augmentation(fraction=0.0)


def test_a_student_learns(digits: Teacher, inputs: torch.Tensor) -> None:
    events: list[Event] = []
    student = fresh()
    before = agreement(student, digits, inputs)
    distil(student, digits, inputs, Distillation(epochs=30, batch_size=64, augmentation=PLAIN), 0, events.append)
    assert agreement(student, digits, inputs) > max(0.95, before)
    assert not student.training
    losses = [e.figures["loss"] for e in events if e.kind == "progress"]
    assert losses[-1] < 0.2 * losses[0]
    assert events[-1].kind == "done"
    assert events[-1].completed == events[-1].total == 30 * 8


def weights(seed: int, digits: Teacher, inputs: torch.Tensor) -> torch.Tensor:
    student = fresh()
    settings = Distillation(epochs=2, batch_size=100, augmentation=Augmentation(noise=0.1, mixup=0.5))
    distil(student, digits, inputs, settings, seed, silent)
    return torch.cat([p.detach().flatten() for p in student.parameters()])


def test_the_seed_decides(digits: Teacher, inputs: torch.Tensor) -> None:
    first = weights(0, digits, inputs)
    torch.rand(5)  # the global generator is nobody's business
    assert torch.equal(first, weights(0, digits, inputs))
    assert not torch.equal(first, weights(1, digits, inputs))


def test_the_global_generator_is_left_alone(digits: Teacher, inputs: torch.Tensor) -> None:
    before = torch.get_rng_state()
    weights(0, digits, inputs)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("samples", "batch", "steps"), [(100, 100, 3), (101, 100, 6), (50, 512, 3)])
def test_steps(samples: int, batch: int, steps: int) -> None:
    assert Distillation(epochs=3, batch_size=batch).steps(samples) == steps


def test_fewer_samples_than_a_batch(digits: Teacher, inputs: torch.Tensor) -> None:
    student = fresh()
    distil(student, digits, inputs[:7], Distillation(epochs=2, batch_size=64), 0, silent)
    assert all(torch.isfinite(p).all() for p in student.parameters())


def test_agreement_counts(digits: Teacher, inputs: torch.Tensor) -> None:
    """The teacher agrees with itself; with its answers moved on by one it never does."""

    class Same(nn.Module):
        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = nn.Parameter(torch.tensor(float(step)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return digits.logits(digits.domain.to_file(x)).roll(int(self.step), 1)

    assert agreement(Same(0), digits, inputs) == 1.0
    assert agreement(Same(1), digits, inputs) == 0.0
