"""Generators that learn: what they make, and what they leave alone."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from tests.conftest import SaveModel
from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.base import Generator
from zskd_onnx.generators.dafl import DataFreeLearning
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.losses import soft_target_loss
from zskd_onnx.students.choose import build, choose
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.outputs import Asking
from zskd_onnx.teacher.probes.probe import blocks_probe, features_probe
from zskd_onnx.teacher.teacher import Teacher

CPU = torch.device("cpu")


def fresh() -> nn.Module:
    return build(choose("cnn-small", (1, 8, 8), 0), (1, 8, 8), 10, 0)


def training(settings: Generator, teacher: Teacher, steps: int = 100, ask: Asking | None = None) -> GeneratorTraining:
    return GeneratorTraining(settings, teacher, ask or Asking(teacher), batch=32, steps=steps, seed=0, device=CPU)


def divergence(teacher: Teacher, student: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float(soft_target_loss(student(x), teacher.logits(teacher.domain.to_file(x)), 1.0))


def test_the_adversary_finds_disagreement(digits: Teacher) -> None:
    """ABM, eq. 3: against a student that stands still, KL(T || S) grows."""
    student = fresh()
    generator = training(Adversarial(width=8, student_steps=1, learning_rate=1e-2, schedule="constant"), digits)
    before = divergence(digits, student, generator.samples(256, "test"))
    for step in range(60):
        generator.batch(step, student)
    assert divergence(digits, student, generator.samples(256, "test")) > before + 0.2


def test_data_free_learning_makes_sure_samples_or_balanced_ones(digits: Teacher) -> None:
    """Chen et al. 2019: one term makes the teacher sure of each sample, another the classes alike in a batch."""
    sure, entropy = {}, {}
    for balance in (0.0, 20.0):
        settings = DataFreeLearning(
            width=8, student_steps=1, learning_rate=1e-2, schedule="constant", balance=balance, activation=0.0
        )
        generator = training(settings, digits)
        for step in range(100):
            generator.batch(step, nn.Identity())
        with torch.no_grad():
            p = digits.logits(digits.domain.to_file(generator.samples(512, "test"))).softmax(1)
        mean = p.mean(0)
        sure[balance] = float(p.amax(1).mean())
        entropy[balance] = float(-(mean * mean.log()).sum())
    assert sure[0.0] > sure[20.0]
    assert entropy[20.0] > max(entropy[0.0], 0.95 * math.log(10))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_what_the_adversary_maximises(digits: Teacher, temperature: float) -> None:
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    theirs, ours = digits.logits(digits.domain.to_file(x)), fresh()(x)
    p, q = (z / temperature for z in (theirs, ours))
    expected = -(temperature**2) * (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
    found = Adversarial(temperature=temperature).loss(x, theirs, (), lambda _: ours)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weights", [(1.0, 0.1, 5.0), (0.5, 0.0, 1.0)])
def test_the_terms_of_data_free_learning(digits: Teacher, weights: tuple[float, float, float]) -> None:
    one_hot, activation, balance = weights
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    file = digits.domain.to_file(x)
    z, h = digits.logits(file), digits.features(file)
    p = z.softmax(1).mean(0)
    expected = one_hot * -z.log_softmax(1).amax(1).mean() - activation * h.abs().mean() + balance * (p * p.log()).sum()
    settings = DataFreeLearning(one_hot=one_hot, activation=activation, balance=balance)
    probe = settings.probe(digits)
    inner = () if probe is None else probe(file)[1]
    torch.testing.assert_close(settings.loss(x, z, inner, nn.Identity()), expected)


@pytest.mark.parametrize("fresh_batches", [True, False])
def test_batches_of_an_iteration(digits: Teacher, fresh_batches: bool) -> None:
    """One batch for all steps of an iteration, or one for each; the teacher's answer belongs to it."""
    student = fresh()
    generator = training(Adversarial(width=4, student_steps=3, fresh=fresh_batches), digits)
    batches = [generator.batch(step, student) for step in range(6)]
    same = [torch.equal(a[0], b[0]) for a, b in pairwise(batches)]
    assert same == ([False] * 5 if fresh_batches else [True, True, False, True, True])
    for x, answer in batches:
        assert not x.requires_grad
        torch.testing.assert_close(answer.logits, digits.logits(digits.domain.to_file(x)))


@pytest.mark.parametrize("fresh_batches", [True, False])
def test_what_the_student_sees_may_be_changed(digits: Teacher, fresh_batches: bool) -> None:
    """The teacher answers the changed samples; the generator learns from its own, as without."""
    student, settings = fresh(), Adversarial(width=4, student_steps=3, fresh=fresh_batches)
    plain, changed = training(settings, digits), training(settings, digits)
    for step in range(6):
        x, _ = plain.batch(step, student)
        seen, answer = changed.batch(step, student, lambda x: x / 2)
        torch.testing.assert_close(seen, x / 2)
        torch.testing.assert_close(answer.logits, digits.logits(digits.domain.to_file(x / 2)))


def test_half_of_a_batch_may_be_remembered(digits: Teacher) -> None:
    """The other half is new; the teacher answers both, and a run that goes on sees the same batches."""
    student, settings = fresh(), Adversarial(width=4, student_steps=1, memory=1000)
    generator, plain = training(settings, digits), training(settings.model_copy(update={"memory": 0}), digits)
    earlier: list[torch.Tensor] = []
    for step in range(4):
        new = plain.batch(step, student)[0]
        x, answer = generator.batch(step, student)
        torch.testing.assert_close(answer.logits, digits.logits(digits.domain.to_file(x)))
        earlier.append(new.half().float())
        assert among(x, new) >= 16
        assert among(x, torch.cat([new, *earlier])) == 32
    again = training(settings, digits)
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again.batch(4, student)[0], generator.batch(4, student)[0])


def among(x: torch.Tensor, others: torch.Tensor) -> int:
    """How many samples of x are among others."""
    return int((x[:, None] == others[None]).flatten(2).all(2).any(1).sum())


def test_nothing_but_the_generator_learns(digits: Teacher) -> None:
    student = fresh()
    before = [p.detach().clone() for p in student.parameters()]
    generator = training(Adversarial(width=4), digits)
    mine = [p.detach().clone() for p in generator.net.parameters()]
    generator.batch(0, student)
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    assert all(p.grad is None for p in student.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(mine, generator.net.parameters(), strict=True))


def test_blocks_and_features_come_with_the_answers(digits: Teacher) -> None:
    probe = blocks_probe(digits)
    ask = Asking(digits, probe, probe.sizes[-1:], features_probe(digits))
    x, answer = training(Adversarial(width=4), digits, ask=ask).batch(0, fresh())
    (block,) = answer.blocks
    assert block.shape[0] == len(x)
    assert tuple(block.shape[2:]) == probe.sizes[-1]
    file = digits.domain.to_file(x)
    assert answer.features is not None
    assert torch.allclose(answer.features, digits.features(file))
    assert torch.allclose(answer.logits, digits.logits(file))


def test_a_cosine_ends_at_nothing(digits: Teacher) -> None:
    """The last update of a run moves next to nothing."""
    student = fresh()
    moved = []
    for schedule in ("cosine", "constant"):
        generator = training(Adversarial(width=4, student_steps=1, schedule=schedule), digits, steps=1000)
        generator.batch(0, student)
        before = torch.cat([p.detach().flatten().clone() for p in generator.net.parameters()])
        generator.batch(999, student)
        after = torch.cat([p.detach().flatten() for p in generator.net.parameters()])
        moved.append(float((after - before).norm()))
    assert moved[0] < 1e-3 * moved[1]


def test_vectors(save_model: SaveModel) -> None:
    from onnx import helper

    w = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    teacher = load_teacher(save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 6], ["N", 3], {"w": w}))
    student = build(choose("mlp-small", (6,), 0), (6,), 3, 0)
    x, answer = training(DataFreeLearning(width=4), teacher).batch(0, student)
    assert x.shape == (32, 6)
    torch.testing.assert_close(answer.logits, F.linear(4 * x - 2, w.T))  # the domain assumed of vectors


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Adversarial, {"temperature": 0}),
        (Adversarial, {"temperature": -1}),
        (Adversarial, {"noise": 0}),
        (Adversarial, {"learning_rate": 0}),
        (Adversarial, {"clip": 0}),
        (DataFreeLearning, {"one_hot": -1}),
        (DataFreeLearning, {"activation": -1}),
        (DataFreeLearning, {"balance": -1}),
    ],
)
def test_fields_are_checked(kind: type[Generator], fields: dict) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)


def test_a_teacher_without_features(save_model: SaveModel) -> None:
    from onnx import helper

    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    teacher = load_teacher(save_model(nodes, ["N", 3, 4, 4], ["N", 3]))
    with pytest.raises(UnsupportedTeacherError, match="final fully connected layer"):
        training(DataFreeLearning(width=4), teacher)
