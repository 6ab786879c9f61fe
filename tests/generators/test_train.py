"""Training of generators."""

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
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.probes.probe import activation_maps_probe, features_probe
from zskd_onnx.teacher.teacher import Teacher

CPU = torch.device("cpu")


def untrained() -> nn.Module:
    return build(choose("cnn-small", (1, 8, 8)), (1, 8, 8), 10, 0)


def training(
    settings: Generator, teacher: Teacher, steps: int = 100, view: TeacherView | None = None
) -> GeneratorTraining:
    return GeneratorTraining(settings, teacher, view or TeacherView(teacher), batch=32, steps=steps, seed=0, device=CPU)


def divergence(teacher: Teacher, student: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float(soft_target_loss(student(x), teacher.logits(teacher.domain.to_file(x)), 1.0))


def test_adversarial_training_increases_the_divergence(digits: Teacher) -> None:
    """ABM, eq. 3: KL(T || S) grows for a student that is not trained."""
    student = untrained()
    generator = training(Adversarial(width=8, student_steps=1, learning_rate=1e-2, schedule="constant"), digits)
    before = divergence(digits, student, generator.samples(256, "test"))
    for step in range(60):
        generator.batch(step, student)
    assert divergence(digits, student, generator.samples(256, "test")) > before + 0.2


def test_terms_of_data_free_learning_trade_confidence_for_balance(digits: Teacher) -> None:
    """Chen et al. 2019: one term raises the confidence in each sample, another balances the classes of a batch."""
    confidence, entropy = {}, {}
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
        confidence[balance] = float(p.amax(1).mean())
        entropy[balance] = float(-(mean * mean.log()).sum())
    assert confidence[0.0] > confidence[20.0]
    assert entropy[20.0] > max(entropy[0.0], 0.95 * math.log(10))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_adversarial_loss_is_the_negative_divergence(digits: Teacher, temperature: float) -> None:
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    teacher_logits, student_logits = digits.logits(digits.domain.to_file(x)), untrained()(x)
    p, q = (z / temperature for z in (teacher_logits, student_logits))
    expected = -(temperature**2) * (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
    loss = Adversarial(temperature=temperature).loss(x, teacher_logits, (), lambda _: student_logits)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("weights", [(1.0, 0.1, 5.0), (0.5, 0.0, 1.0)])
def test_the_loss_of_data_free_learning_is_the_sum_of_its_terms(
    digits: Teacher, weights: tuple[float, float, float]
) -> None:
    one_hot, activation, balance = weights
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    file = digits.domain.to_file(x)
    z, h = digits.logits(file), digits.features(file)
    p = z.softmax(1).mean(0)
    expected = one_hot * -z.log_softmax(1).amax(1).mean() - activation * h.abs().mean() + balance * (p * p.log()).sum()
    settings = DataFreeLearning(one_hot=one_hot, activation=activation, balance=balance)
    probe = settings.probe(digits)
    activations = () if probe is None else probe(file)[1]
    torch.testing.assert_close(settings.loss(x, z, activations, nn.Identity()), expected)


@pytest.mark.parametrize("fresh_batches", [True, False])
def test_batches_of_an_iteration(digits: Teacher, fresh_batches: bool) -> None:
    """All steps of an iteration have the same batch, or each its own, with the teacher's logits for it."""
    student = untrained()
    generator = training(Adversarial(width=4, student_steps=3, fresh_batches=fresh_batches, replay=0), digits)
    batches = [generator.batch(step, student) for step in range(6)]
    same = [torch.equal(a[0], b[0]) for a, b in pairwise(batches)]
    assert same == ([False] * 5 if fresh_batches else [True, True, False, True, True])
    for x, outputs in batches:
        assert not x.requires_grad
        torch.testing.assert_close(outputs.logits, digits.logits(digits.domain.to_file(x)))


@pytest.mark.parametrize("fresh_batches", [True, False])
def test_augmentation_of_the_students_samples(digits: Teacher, fresh_batches: bool) -> None:
    """The teacher's logits are for the augmented samples; the generator is trained as without augmentation."""
    student = untrained()
    settings = Adversarial(width=4, student_steps=3, fresh_batches=fresh_batches, replay=0)
    plain, augmented = training(settings, digits), training(settings, digits)
    for step in range(6):
        x, _ = plain.batch(step, student)
        changed, outputs = augmented.batch(step, student, lambda x: x / 2)
        torch.testing.assert_close(changed, x / 2)
        torch.testing.assert_close(outputs.logits, digits.logits(digits.domain.to_file(x / 2)))


def test_half_of_a_batch_is_replayed(digits: Teacher) -> None:
    """The other half is new. The teacher's logits are for both, and a resumed run has the same batches."""
    student, settings = untrained(), Adversarial(width=4, student_steps=1, replay=1000)
    generator, plain = training(settings, digits), training(settings.model_copy(update={"replay": 0}), digits)
    earlier: list[torch.Tensor] = []
    for step in range(4):
        new = plain.batch(step, student)[0]
        x, outputs = generator.batch(step, student)
        torch.testing.assert_close(outputs.logits, digits.logits(digits.domain.to_file(x)))
        earlier.append(new.half().float())
        assert count_common(x, new) >= 16
        assert count_common(x, torch.cat([new, *earlier])) == 32
    resumed = training(settings, digits)
    resumed.load_state_dict(generator.state_dict())
    assert torch.equal(resumed.batch(4, student)[0], generator.batch(4, student)[0])


def count_common(x: torch.Tensor, others: torch.Tensor) -> int:
    """Number of samples of x that are among others."""
    return int((x[:, None] == others[None]).flatten(2).all(2).any(1).sum())


def test_a_generator_step_changes_only_the_generator(digits: Teacher) -> None:
    student = untrained()
    before = [p.detach().clone() for p in student.parameters()]
    generator = training(Adversarial(width=4), digits)
    generator_before = [p.detach().clone() for p in generator.net.parameters()]
    generator.batch(0, student)
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    assert all(p.grad is None for p in student.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(generator_before, generator.net.parameters(), strict=True))


def test_batches_come_with_activation_maps_and_features(digits: Teacher) -> None:
    probe = activation_maps_probe(digits)
    view = TeacherView(digits, probe, probe.sizes[-1:], features_probe(digits))
    x, outputs = training(Adversarial(width=4), digits, view=view).batch(0, untrained())
    (maps,) = outputs.maps
    assert maps.shape[0] == len(x)
    assert tuple(maps.shape[2:]) == probe.sizes[-1]
    file = digits.domain.to_file(x)
    assert outputs.features is not None
    assert torch.allclose(outputs.features, digits.features(file))
    assert torch.allclose(outputs.logits, digits.logits(file))


def test_the_cosine_schedule_ends_near_zero(digits: Teacher) -> None:
    """The last update of a run changes the generator very little."""
    student = untrained()
    changes = []
    for schedule in ("cosine", "constant"):
        generator = training(Adversarial(width=4, student_steps=1, schedule=schedule), digits, steps=1000)
        generator.batch(0, student)
        before = torch.cat([p.detach().flatten().clone() for p in generator.net.parameters()])
        generator.batch(999, student)
        after = torch.cat([p.detach().flatten() for p in generator.net.parameters()])
        changes.append(float((after - before).norm()))
    assert changes[0] < 1e-3 * changes[1]


def test_generators_make_vectors(save_model: SaveModel) -> None:
    from onnx import helper

    w = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    teacher = load_teacher(save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 6], ["N", 3], {"w": w}))
    student = build(choose("mlp-small", (6,)), (6,), 3, 0)
    x, outputs = training(DataFreeLearning(width=4), teacher).batch(0, student)
    assert x.shape == (32, 6)
    torch.testing.assert_close(outputs.logits, F.linear(4 * x - 2, w.T))  # the default input range of vectors


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Adversarial, {"temperature": 0}),
        (Adversarial, {"temperature": -1}),
        (Adversarial, {"latent_dim": 0}),
        (Adversarial, {"learning_rate": 0}),
        (Adversarial, {"grad_clip": 0}),
        (DataFreeLearning, {"one_hot": -1}),
        (DataFreeLearning, {"activation": -1}),
        (DataFreeLearning, {"balance": -1}),
    ],
)
def test_invalid_values_are_errors(kind: type[Generator], fields: dict) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)


def test_a_teacher_without_a_final_layer_is_refused(save_model: SaveModel) -> None:
    from onnx import helper

    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    teacher = load_teacher(save_model(nodes, ["N", 3, 4, 4], ["N", 3]))
    with pytest.raises(UnsupportedTeacherError, match="final fully connected layer"):
        training(DataFreeLearning(width=4), teacher)
