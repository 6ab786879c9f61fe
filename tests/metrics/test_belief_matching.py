"""Belief matching against walks taken one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zskd_onnx import UsageError
from zskd_onnx.events import Event
from zskd_onnx.metrics.belief_matching import BeliefMatching

SHAPE = (1, 6, 6)


def net(change: float = 0.0) -> nn.Module:
    """A small classifier, or one whose weights are changed that much."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 4, bias=False))
    for weight in module.parameters():
        weight.data = 3 * weight + change * torch.randn_like(weight)
    return module.eval().requires_grad_(False)


def samples(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def one_by_one(student: nn.Module, teacher: nn.Module, inputs: Tensor, steps: int, rate: float) -> tuple[Tensor, int]:
    """p_j of student and teacher: (walks, steps, 2), and the samples that both give one class."""
    walks, alike = [], 0
    for sample in inputs:
        named = int(student(sample[None]).argmax())
        if named != int(teacher(sample[None]).argmax()):
            continue
        alike += 1
        for goal in set(range(4)) - {named}:
            x, seen = sample[None].clone(), []
            for _ in range(steps):
                x.requires_grad_()
                F.cross_entropy(student(x), torch.tensor([goal])).backward()
                assert x.grad is not None
                x = x.detach() - rate * x.grad
                seen.append([float(n(x).softmax(1)[0, goal]) for n in (student, teacher)])
            walks.append(seen)
    return torch.tensor(walks, dtype=torch.float64), alike


@pytest.mark.parametrize("batch_size", [7, 256])
def test_as_walks_taken_one_by_one(batch_size: int) -> None:
    student, teacher, inputs = net(), net(0.2), samples(20)
    expected, alike = one_by_one(student, teacher, inputs, steps=5, rate=0.5)
    assert 0 < alike < 20
    found = BeliefMatching(steps=5, rate=0.5).measure(student, teacher, inputs, generator(), batch_size=batch_size)
    assert found.samples == alike
    assert found.error == pytest.approx(float((expected[..., 0] - expected[..., 1]).abs().mean()), abs=1e-6)
    assert found.student == pytest.approx(expected[..., 0].mean(0).tolist(), abs=1e-6)
    assert found.teacher == pytest.approx(expected[..., 1].mean(0).tolist(), abs=1e-6)


def test_a_student_that_is_its_teacher_makes_no_error_and_gets_there() -> None:
    found = BeliefMatching(samples=5, steps=60).measure(net(), net(), samples(30), generator())
    assert (found.error, found.samples) == (0, 5)
    assert found.student == found.teacher
    assert found.student[0] < found.student[-1]
    assert found.student[-1] > 0.9


def test_it_draws_the_samples_by_the_generator() -> None:
    errors = [
        BeliefMatching(samples=4, steps=3)
        .measure(net(), net(0.2), samples(60), torch.Generator().manual_seed(seed))
        .error
        for seed in (0, 0, 1)
    ]
    assert errors[0] == errors[1] != errors[2]


def test_progress_counts_every_step_of_every_walk() -> None:
    heard: list[Event] = []
    BeliefMatching(samples=5, steps=4).measure(
        net(), net(), samples(9), generator(), batch_size=4, listener=heard.append
    )
    assert [event.kind for event in heard] == ["progress"] * 16 + ["done"]
    assert heard[0].completed == 4 * 1
    assert heard[-2].completed == heard[-2].total == 5 * 3 * 4


def test_two_that_never_agree() -> None:
    student = net()
    with pytest.raises(UsageError, match="agree on none of 9 samples"):
        BeliefMatching().measure(student, lambda x: -student(x), samples(9), generator())
