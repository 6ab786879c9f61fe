"""Belief matching, compared with paths that are computed one by one."""

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
    """A small classifier; its weights are changed by noise of this standard deviation."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 4, bias=False))
    for weight in module.parameters():
        weight.data = 3 * weight + change * torch.randn_like(weight)
    return module.eval().requires_grad_(False)


def samples(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def rng_with() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def one_by_one(student: nn.Module, teacher: nn.Module, inputs: Tensor, steps: int, rate: float) -> tuple[Tensor, int]:
    """p_j of student and teacher (paths, steps, 2), and the number of samples on which they agree."""
    paths, agreeing = [], 0
    for sample in inputs:
        predicted = int(student(sample[None]).argmax())
        if predicted != int(teacher(sample[None]).argmax()):
            continue
        agreeing += 1
        for goal in set(range(4)) - {predicted}:
            x, path = sample[None].clone(), []
            for _ in range(steps):
                x.requires_grad_()
                F.cross_entropy(student(x), torch.tensor([goal])).backward()
                assert x.grad is not None
                x = x.detach() - rate * x.grad
                path.append([float(n(x).softmax(1)[0, goal]) for n in (student, teacher)])
            paths.append(path)
    return torch.tensor(paths, dtype=torch.float64), agreeing


@pytest.mark.parametrize("batch_size", [7, 256])
def test_results_equal_those_of_paths_computed_one_by_one(batch_size: int) -> None:
    student, teacher, inputs = net(), net(0.2), samples(20)
    expected, agreeing = one_by_one(student, teacher, inputs, steps=5, rate=0.5)
    assert 0 < agreeing < 20
    transitions = BeliefMatching(steps=5, rate=0.5).measure(student, teacher, inputs, rng_with(), batch_size=batch_size)
    assert transitions.samples == agreeing
    assert transitions.error == pytest.approx(float((expected[..., 0] - expected[..., 1]).abs().mean()), abs=1e-6)
    assert transitions.student == pytest.approx(expected[..., 0].mean(0).tolist(), abs=1e-6)
    assert transitions.teacher == pytest.approx(expected[..., 1].mean(0).tolist(), abs=1e-6)


def test_a_student_equal_to_its_teacher_has_no_error_and_reaches_the_goals() -> None:
    transitions = BeliefMatching(samples=5, steps=60).measure(net(), net(), samples(30), rng_with())
    assert (transitions.error, transitions.samples) == (0, 5)
    assert transitions.student == transitions.teacher
    assert transitions.student[0] < transitions.student[-1]
    assert transitions.student[-1] > 0.9


def test_the_random_generator_determines_the_samples() -> None:
    errors = [
        BeliefMatching(samples=4, steps=3)
        .measure(net(), net(0.2), samples(60), torch.Generator().manual_seed(seed))
        .error
        for seed in (0, 0, 1)
    ]
    assert errors[0] == errors[1] != errors[2]


def test_progress_counts_every_step_of_every_path() -> None:
    events: list[Event] = []
    BeliefMatching(samples=5, steps=4).measure(
        net(), net(), samples(9), rng_with(), batch_size=4, listener=events.append
    )
    assert [event.kind for event in events] == ["progress"] * 17 + ["done"]
    assert [event.completed for event in events[:2]] == [0, 4 * 1]
    assert events[-2].completed == events[-2].total == 5 * 3 * 4


def test_no_agreement_is_an_error() -> None:
    student = net()
    with pytest.raises(UsageError, match="agree on none of 9 samples"):
        BeliefMatching().measure(student, lambda x: -student(x), samples(9), rng_with())
