"""The training loop of a student: batches, losses, selection, interruption."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.batches import NO_LABEL, Batch, ProceduralImages, Sources, StoredSamples
from zskd_onnx.distillation.checkpoint import Checkpoint
from zskd_onnx.distillation.selection import StudentSelection
from zskd_onnx.distillation.settings import Distillation, LossWeights
from zskd_onnx.distillation.train import _loss, train
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.losses import FeatureLoss
from zskd_onnx.metrics.compare import compare
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.procedural.settings import Procedural
from zskd_onnx.students.activations import ActivationRecorder
from zskd_onnx.students.choose import build, choose
from zskd_onnx.teacher.probes.outputs import Outputs, TeacherView
from zskd_onnx.teacher.probes.probe import activation_maps_probe, features_probe
from zskd_onnx.teacher.teacher import Teacher

CPU = torch.device("cpu")


def new_student(seed: int = 0) -> nn.Module:
    """An untrained student of the digits teacher."""
    return build(choose("cnn-small", (1, 8, 8)), (1, 8, 8), 10, seed)


PLAIN = Augmentation(fraction=0.0)


def run(
    student: nn.Module,
    teacher: Teacher,
    inputs: torch.Tensor,
    settings: Distillation,
    seed: int = 0,
    listener: Listener = silent,
    *,
    labels: torch.Tensor | None = None,
    selection: StudentSelection | None = None,
    checkpoint: Checkpoint | None = None,
    generator: bool = False,
    view: TeacherView | None = None,
    recorder: ActivationRecorder | None = None,
) -> None:
    """Train a student on stored samples, and on those of a generator if asked for."""
    steps = settings.steps(len(inputs))
    shares = settings.shares(("transfer_set", "generator") if generator else ("transfer_set",))
    view = view or TeacherView(teacher)
    stored = StoredSamples("transfer_set", inputs, labels, min(shares["transfer_set"], len(inputs)))
    training = None
    if generator:
        training = GeneratorTraining(
            Adversarial(width=4, student_steps=3),
            teacher,
            view,
            batch=shares["generator"],
            steps=steps,
            seed=seed,
            device=CPU,
        )
    sources = Sources((stored,), generator=training)
    train(
        student,
        sources,
        view,
        settings,
        steps,
        seed,
        recorder=recorder,
        selection=selection,
        checkpoint=checkpoint,
        listener=listener,
    )


def test_training_makes_the_student_agree(digits: Teacher, inputs: torch.Tensor) -> None:
    events: list[Event] = []
    student = new_student()
    before = compare(student, digits, inputs).agreement
    settings = Distillation(epochs=30, batch_size=64, augmentation=PLAIN)
    run(student, digits, inputs, settings, listener=events.append)
    assert compare(student, digits, inputs).agreement > max(0.95, before)
    assert not student.training
    losses = [e.figures["loss"] for e in events if "loss" in e.figures]
    assert losses[-1] < 0.2 * losses[0]
    assert events[-1].kind == "done"
    assert events[-1].completed == events[-1].total == 30 * 8


def flat(student: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in student.parameters()])


def trained_weights(seed: int, digits: Teacher, inputs: torch.Tensor) -> torch.Tensor:
    student = new_student()
    settings = Distillation(epochs=2, batch_size=100, augmentation=Augmentation(noise=0.1, mixup=0.5))
    run(student, digits, inputs, settings, seed)
    return flat(student)


def test_training_depends_on_the_seed_only(digits: Teacher, inputs: torch.Tensor) -> None:
    first = trained_weights(0, digits, inputs)
    torch.rand(5)  # changes torch's global random generator
    assert torch.equal(first, trained_weights(0, digits, inputs))
    assert not torch.equal(first, trained_weights(1, digits, inputs))


def test_training_restores_the_global_random_generator(digits: Teacher, inputs: torch.Tensor) -> None:
    before = torch.get_rng_state()
    trained_weights(0, digits, inputs)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("samples", "batch", "epoch", "steps"),
    [
        (100, 100, None, 3),
        (101, 100, None, 6),
        (50, 512, None, 3),
        # The replication's eq. 4: epochs' = size / (10 M) epochs, so M = 20 takes the steps of all 600.
        (200, 100, 600, 18),
        (0, 100, 250, 9),
    ],
)
def test_steps(samples: int, batch: int, epoch: int | None, steps: int) -> None:
    assert Distillation(epochs=3, batch_size=batch, epoch_samples=epoch).steps(samples) == steps


@pytest.mark.parametrize(
    ("mixture", "shares"),
    [
        (None, {"transfer_set": 50, "data": 50, "generator": 50}),
        ({"generator": 1}, {"transfer_set": 0, "data": 0, "generator": 150}),
        ({"transfer_set": 2, "generator": 1}, {"transfer_set": 100, "data": 0, "generator": 50}),
        ({"transfer_set": 1, "data": 1e-4}, {"transfer_set": 150, "data": 0, "generator": 0}),
    ],
)
def test_shares(mixture: dict | None, shares: dict) -> None:
    settings = Distillation(batch_size=150, mixture=mixture)
    assert settings.shares(("transfer_set", "data", "generator")) == shares


@pytest.mark.parametrize(
    ("mixture", "shares"),
    [
        (None, {"transfer_set": 30, "data": 30, "procedural": 90}),
        ({"procedural": 1, "data": 2}, {"transfer_set": 0, "data": 100, "procedural": 50}),
        ({"transfer_set": 1}, {"transfer_set": 150, "data": 0, "procedural": 0}),
    ],
)
def test_procedural_images_have_their_share_of_a_batch(mixture: dict | None, shares: dict) -> None:
    settings = Distillation(batch_size=150, mixture=mixture)
    assert settings.shares(("transfer_set", "data", "procedural"), 0.6) == shares
    assert settings.shares(("procedural",), 0.6) == (
        {"procedural": 150} if "procedural" in (mixture or {"procedural"}) else {"procedural": 0}
    )


def test_batch_has_its_procedural_images(digits: Teacher, inputs: torch.Tensor) -> None:
    """Without augmentation: stored samples come first, then new level-set lines for each batch."""
    settings = Procedural(level_lines=0.5)
    images = ProceduralImages(DrawnImages(settings, (1, 8, 8)), 10)
    sources = Sources((StoredSamples("transfer_set", inputs, None, 10),), images)
    batches = list(sources.batches(range(3), 3, TeacherView(digits), PLAIN, 0, new_student()))
    assert sources.procedural_share == 0.5
    for batch in batches:
        assert batch.x.shape == (20, 1, 8, 8)
        assert all((inputs.float() == x).flatten(1).all(1).any() for x in batch.x[:10])
        assert not any((inputs.float() == x).flatten(1).all(1).any() for x in batch.x[10:])
        torch.testing.assert_close(batch.outputs.logits, digits.logits(digits.domain.to_file(batch.x)))
    assert not torch.equal(batches[0].x[10:], batches[1].x[10:])


def test_bad_mixture_and_patience() -> None:
    with pytest.raises(ValidationError):
        Distillation(mixture={"noise": 1})
    with pytest.raises(ValidationError, match="patience"):
        Distillation(validations=0, patience=2)


def test_fewer_samples_than_a_batch(digits: Teacher, inputs: torch.Tensor) -> None:
    student = new_student()
    run(student, digits, inputs[:7], Distillation(epochs=2, batch_size=64))
    assert torch.isfinite(flat(student)).all()


def test_labels_with_a_large_weight_override_soft_targets(digits: Teacher, inputs: torch.Tensor) -> None:
    """The student learns wrong labels; the weight changes nothing for samples without labels."""
    wrong = (digits.logits(digits.domain.to_file(inputs.float())).argmax(1) + 1) % 10
    settings = Distillation(
        epochs=20, batch_size=64, loss_weights=LossWeights(labels=30.0), augmentation=PLAIN, validations=0
    )
    student = new_student()
    run(student, digits, inputs, settings, labels=wrong)
    predicted = student(inputs.float()).argmax(1)
    assert float((predicted == wrong).float().mean()) > 0.9
    unlabelled, without_weight = new_student(), new_student()
    settings = settings.model_copy(update={"epochs": 3})
    run(unlabelled, digits, inputs, settings, labels=torch.full_like(wrong, NO_LABEL))
    run(without_weight, digits, inputs, settings.model_copy(update={"loss_weights": LossWeights()}))
    torch.testing.assert_close(flat(unlabelled), flat(without_weight))


def test_label_loss_by_hand() -> None:
    """The cross-entropy is a mean over the samples with a label, whatever their number in a batch."""
    z, teacher = torch.randn((2, 6, 4), generator=torch.Generator().manual_seed(0)).unbind()
    labels = torch.tensor([2, NO_LABEL, 0, NO_LABEL, NO_LABEL, 3])
    batch = Batch(torch.zeros(6, 1), Outputs(teacher), labels, 6)
    plain, labelled = (
        _loss(Outputs(z), batch, Distillation(temperature=1.0, loss_weights=LossWeights(labels=weight)), None)
        for weight in (0.0, 0.3)
    )
    expected = -sum(float(z[i].log_softmax(0)[labels[i]]) for i in (0, 2, 5)) / 3
    assert float(labelled - plain) == pytest.approx(0.3 * expected, rel=1e-4)


def test_attention_transfer_reduces_the_difference_of_attention(digits: Teacher, inputs: torch.Tensor) -> None:
    probe = activation_maps_probe(digits)
    gaps = {}
    for weight in (0.0, 250.0):
        student = new_student()
        recorder = ActivationRecorder(student, (1, 8, 8), sizes=probe.sizes)
        assert recorder.sizes
        settings = Distillation(epochs=5, batch_size=64, loss_weights=LossWeights(attention=weight), augmentation=PLAIN)
        view = TeacherView(digits, probe, recorder.sizes)
        run(student, digits, inputs, settings, view=view, recorder=recorder)
        maps = []
        for outputs in (recorder(inputs.float()), view(inputs.float())):
            maps.append([F.normalize(v.detach().square().mean(1).flatten(1), dim=1) for v in outputs.maps])
        gaps[weight] = sum(float((a - b).square().mean()) for a, b in zip(*maps, strict=True))
    assert gaps[250.0] < 0.5 * gaps[0.0]


def test_feature_distillation_makes_features_predictable(digits: Teacher, inputs: torch.Tensor) -> None:
    """It reduces the share of variance of the teacher's 52 features that a linear map of the student's 16 leaves."""
    unexplained = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        view = TeacherView(digits, features=features_probe(digits))
        recorder = ActivationRecorder(student, (1, 8, 8), features=True)
        settings = Distillation(
            epochs=100, batch_size=64, temperature=1.0, loss_weights=LossWeights(features=weight), augmentation=PLAIN
        )
        run(student, digits, inputs, settings, view=view, recorder=recorder)
        with torch.no_grad():
            features, teacher_features = recorder(inputs.float()).features, view(inputs.float()).features
        assert features is not None
        assert teacher_features is not None
        assert torch.equal(teacher_features, digits.features(digits.domain.to_file(inputs.float())))
        predictors = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
        predicted = predictors @ torch.linalg.lstsq(predictors, teacher_features.double(), driver="gelsd").solution
        unexplained[weight] = float((predicted - teacher_features).square().mean() / teacher_features.var())
    assert unexplained[10.0] < 0.75 * unexplained[0.0]


def test_feature_loss_is_relative_to_the_variance_of_features() -> None:
    loss_of = FeatureLoss(5, 8, 0)
    student, teacher = torch.rand((2, 64, 8)).unbind()
    with torch.no_grad():
        loss = loss_of(student[:, :5], teacher)
        loss_of.map.weight.mul_(100)
        loss_of.map.bias.mul_(100)
        assert float(loss_of(student[:, :5], 100 * teacher)) == pytest.approx(float(loss), rel=1e-4)
        assert float(loss_of(student[:, :5], loss_of.map(student[:, :5]))) == 0


def test_best_student_is_kept(digits: Teacher, inputs: torch.Tensor) -> None:
    """The learning rate is far too high, so the last student is not the best."""
    student = new_student()
    selection = StudentSelection(digits, inputs[:100], accuracy=lambda s: 0.5)
    settings = Distillation(
        epochs=12, batch_size=64, learning_rate=0.3, schedule="constant", augmentation=PLAIN, validations=8
    )
    run(student, digits, inputs, settings, selection=selection)
    best = min(selection.history, key=lambda entry: entry["loss"])
    assert selection.chosen == best["step"]
    assert compare(student, digits, inputs[:100]).agreement == pytest.approx(best["agreement"], abs=1e-5)
    assert len(selection.history) == 8
    assert {entry["accuracy"] for entry in selection.history} == {0.5}


def test_selection_uses_the_temperature_of_training(digits: Teacher, inputs: torch.Tensor) -> None:
    """One student is confident and wrong on a single sample; the other has smaller logits on all samples."""

    class ScaledTeacher(nn.Module):
        """The teacher's logits times ``scale``; those of the first sample are rolled by a class, times ``error``."""

        def __init__(self, error: float, scale: float) -> None:
            super().__init__()
            self.error, self.scale = nn.Parameter(torch.tensor(error)), scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = digits.logits(digits.domain.to_file(x)) * self.scale
            rolled = logits.roll(1, 1) * self.error
            return torch.cat([rolled[:1], logits[1:]]) if float(self.error) else logits

    for temperature, chosen in ((1.0, 2), (20.0, 1)):
        selection = StudentSelection(digits, inputs[:200], temperature=temperature)
        selection.validate(ScaledTeacher(4.0, 1.0), 1)
        selection.validate(ScaledTeacher(0.0, 0.6), 2)
        assert selection.chosen == chosen


def test_last_student_is_kept_where_held_out_samples_come_from_a_generator(
    digits: Teacher, inputs: torch.Tensor
) -> None:
    good, bad = new_student(), new_student(1)
    run(good, digits, inputs, Distillation(epochs=10, batch_size=64, augmentation=PLAIN))
    growing, fixed = StudentSelection(digits, inputs[:0]), StudentSelection(digits, inputs[:100])
    for step, student in ((1, good), (2, bad)):
        growing.add(inputs[50 * (step - 1) : 50 * step])
        for selection in (growing, fixed):
            selection.validate(student, step)
    assert growing.history[1]["loss"] > growing.history[0]["loss"]
    assert (growing.chosen, fixed.chosen) == (2, 1)
    assert torch.equal(growing.held_out, inputs[:100])


def test_patience_ends_training(digits: Teacher, inputs: torch.Tensor) -> None:
    events: list[Event] = []
    selection = StudentSelection(digits, inputs[:100])
    settings = Distillation(
        epochs=40, batch_size=64, learning_rate=0.5, schedule="constant", augmentation=PLAIN, validations=40, patience=2
    )
    run(new_student(), digits, inputs, settings, listener=events.append, selection=selection)
    assert len(selection.history) < 40
    assert [entry["step"] for entry in selection.history].index(selection.chosen) == len(selection.history) - 3


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("features", [0.0, 10.0])
def test_interrupted_training_resumes_to_the_same_student(
    digits: Teacher, inputs: torch.Tensor, tmp_path: Path, features: float, generator: bool
) -> None:
    settings = Distillation(
        epochs=6, batch_size=64, augmentation=PLAIN, validations=6, loss_weights=LossWeights(features=features)
    )

    def attempt(checkpoint: Checkpoint | None, listener: Listener = silent) -> nn.Module:
        student = new_student()
        selection = StudentSelection(digits, inputs[:50])
        run(
            student,
            digits,
            inputs,
            settings,
            selection=selection,
            checkpoint=checkpoint,
            generator=generator,
            view=TeacherView(digits, features=features_probe(digits) if features else None),
            recorder=ActivationRecorder(student, (1, 8, 8), features=True) if features else None,
            listener=listener,
        )
        return student

    def interrupt(event: Event) -> None:
        if event.kind == "progress" and event.completed >= 20:
            signal.raise_signal(signal.SIGINT)

    whole = attempt(None)
    checkpoint = Checkpoint(tmp_path / "state.pt", "one")
    with pytest.raises(KeyboardInterrupt):
        attempt(checkpoint, interrupt)
    assert not list(tmp_path.glob(".*"))
    saved = checkpoint.load(CPU)
    assert saved is not None
    assert 20 <= saved["step"] < 48
    steps: list[int] = []
    resumed = attempt(checkpoint, lambda event: steps.append(event.completed))
    assert min(steps) >= 20
    torch.testing.assert_close(flat(resumed), flat(whole), rtol=0, atol=0)
    assert Checkpoint(checkpoint.path, "another").load(CPU) is None


def test_interruption_at_the_last_step(digits: Teacher, inputs: torch.Tensor, tmp_path: Path) -> None:
    class Interrupting(StudentSelection):
        """Interrupts at step 12, which patience makes the last one."""

        def validate(self, student: nn.Module, step: int) -> dict[str, float]:
            if step == 12:
                signal.raise_signal(signal.SIGINT)
            return super().validate(student, step)

        def exhausted(self, patience: int | None) -> bool:
            return len(self.history) >= 3

    settings = Distillation(epochs=6, batch_size=64, augmentation=PLAIN, validations=12)
    with pytest.raises(KeyboardInterrupt):
        run(new_student(), digits, inputs, settings, selection=Interrupting(digits, inputs[:50]))


def test_complete_training_is_not_repeated(digits: Teacher, inputs: torch.Tensor, tmp_path: Path) -> None:
    """The checkpoint has the validations and the selected student, so a failure after training costs nothing."""
    settings = Distillation(epochs=2, batch_size=64, augmentation=PLAIN, validations=4)
    checkpoint, first, again = Checkpoint(tmp_path / "state.pt", "one"), new_student(), new_student()
    run(first, digits, inputs, settings, selection=StudentSelection(digits, inputs[:50]), checkpoint=checkpoint)
    steps: list[int] = []
    selection = StudentSelection(digits, inputs[:50])
    run(
        again,
        digits,
        inputs,
        settings,
        selection=selection,
        checkpoint=checkpoint,
        listener=lambda event: steps.append(event.completed) if event.kind == "progress" else None,
    )
    assert not steps
    assert len(selection.history) == 4
    assert torch.equal(flat(first), flat(again))


def test_training_of_one_step(digits: Teacher, inputs: torch.Tensor) -> None:
    student, before = new_student(), flat(new_student())
    run(student, digits, inputs, Distillation(epochs=1, batch_size=len(inputs), augmentation=PLAIN))
    assert float((flat(student) - before).abs().max()) > 1e-3


def test_gradient_clipping_makes_steps_smaller(digits: Teacher, inputs: torch.Tensor) -> None:
    """The clipped gradient is far below Adam's epsilon, by which it is then divided."""
    changes = []
    for clip in (None, 1e-10):
        student = new_student()
        settings = Distillation(epochs=1, batch_size=64, schedule="constant", augmentation=PLAIN, grad_clip=clip)
        run(student, digits, inputs, settings)
        changes.append(float((flat(student) - flat(new_student())).abs().max()))
    assert 0 < changes[1] < 0.1 * changes[0]
