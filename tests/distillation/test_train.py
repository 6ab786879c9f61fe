"""The training loop of a student."""

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
from zskd_onnx.procedural.settings import Procedural
from zskd_onnx.students.activations import ActivationRecorder
from zskd_onnx.students.choose import build, choose
from zskd_onnx.teacher.probes.outputs import Outputs, TeacherView
from zskd_onnx.teacher.probes.probe import activation_maps_probe, features_probe
from zskd_onnx.teacher.teacher import Teacher

CPU = torch.device("cpu")


def fresh(seed: int = 0) -> nn.Module:
    return build(choose("cnn-small", (1, 8, 8), 0), (1, 8, 8), 10, seed)


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
    steps = settings.steps(len(inputs))
    shares = settings.shares(("transfer_set", "generator") if generator else ("transfer_set",))
    view = view or TeacherView(teacher)
    stored = StoredSamples("transfer_set", inputs, labels, min(shares["transfer_set"], len(inputs)))
    beside = None
    if generator:
        beside = GeneratorTraining(
            Adversarial(width=4, student_steps=3),
            teacher,
            view,
            batch=shares["generator"],
            steps=steps,
            seed=seed,
            device=CPU,
        )
    sources = Sources((stored,), generator=beside)
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


def test_a_student_learns(digits: Teacher, inputs: torch.Tensor) -> None:
    events: list[Event] = []
    student = fresh()
    before = compare(student, digits, inputs).agreement
    settings = Distillation(epochs=30, batch_size=64, augmentation=PLAIN)
    run(student, digits, inputs, settings, listener=events.append)
    assert compare(student, digits, inputs).agreement > max(0.95, before)
    assert not student.training
    losses = [e.figures["loss"] for e in events if e.kind == "progress"]
    assert losses[-1] < 0.2 * losses[0]
    assert events[-1].kind == "done"
    assert events[-1].completed == events[-1].total == 30 * 8


def flat(student: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in student.parameters()])


def weights(seed: int, digits: Teacher, inputs: torch.Tensor) -> torch.Tensor:
    student = fresh()
    settings = Distillation(epochs=2, batch_size=100, augmentation=Augmentation(noise=0.1, mixup=0.5))
    run(student, digits, inputs, settings, seed)
    return flat(student)


def test_the_seed_decides(digits: Teacher, inputs: torch.Tensor) -> None:
    first = weights(0, digits, inputs)
    torch.rand(5)  # the global generator is nobody's business
    assert torch.equal(first, weights(0, digits, inputs))
    assert not torch.equal(first, weights(1, digits, inputs))


def test_the_global_generator_is_left_alone(digits: Teacher, inputs: torch.Tensor) -> None:
    before = torch.get_rng_state()
    weights(0, digits, inputs)
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
        (None, {"transfer_set": 22, "data": 23, "procedural": 105}),
        ({"procedural": 1, "data": 2}, {"transfer_set": 0, "data": 100, "procedural": 50}),
        ({"transfer_set": 1}, {"transfer_set": 150, "data": 0, "procedural": 0}),
    ],
)
def test_procedural_images_have_their_share_of_a_batch(mixture: dict | None, shares: dict) -> None:
    settings = Distillation(batch_size=150, mixture=mixture)
    assert settings.shares(("transfer_set", "data", "procedural"), 0.7) == shares
    assert settings.shares(("procedural",), 0.7) == (
        {"procedural": 150} if "procedural" in (mixture or {"procedural"}) else {"procedural": 0}
    )


def test_a_batch_has_its_procedural_images(digits: Teacher, inputs: torch.Tensor) -> None:
    """With neither augmentation nor order in the way: stored samples first, then level-set lines, as they are drawn."""
    settings = Procedural(level_lines=0.5)
    images = ProceduralImages(settings, (1, 8, 8), 10)
    sources = Sources((StoredSamples("transfer_set", inputs, None, 10),), images)
    batches = list(sources.batches(range(3), 3, TeacherView(digits), PLAIN, 0, fresh()))
    assert sources.procedural_share == 0.5
    for batch in batches:
        assert batch.x.shape == (20, 1, 8, 8)
        assert all((inputs.float() == x).flatten(1).all(1).any() for x in batch.x[:10])
        assert not any((inputs.float() == x).flatten(1).all(1).any() for x in batch.x[10:])
        torch.testing.assert_close(batch.outputs.logits, digits.logits(digits.domain.to_file(batch.x)))
    assert not torch.equal(batches[0].x[10:], batches[1].x[10:])


def test_a_mixture_names_sources() -> None:
    with pytest.raises(ValidationError):
        Distillation(mixture={"noise": 1})
    with pytest.raises(ValidationError, match="patience"):
        Distillation(validations=0, patience=2)


def test_fewer_samples_than_a_batch(digits: Teacher, inputs: torch.Tensor) -> None:
    student = fresh()
    run(student, digits, inputs[:7], Distillation(epochs=2, batch_size=64))
    assert torch.isfinite(flat(student)).all()


def test_labels_pull_the_student_away_from_the_teacher(digits: Teacher, inputs: torch.Tensor) -> None:
    """Wrong labels with much weight win over soft targets; samples without one know nothing of them."""
    wrong = (digits.logits(digits.domain.to_file(inputs.float())).argmax(1) + 1) % 10
    settings = Distillation(
        epochs=20, batch_size=64, loss_weights=LossWeights(labels=30.0), augmentation=PLAIN, validations=0
    )
    student = fresh()
    run(student, digits, inputs, settings, labels=wrong)
    predicted = student(inputs.float()).argmax(1)
    assert float((predicted == wrong).float().mean()) > 0.9
    unlabelled, plain = fresh(), fresh()
    run(unlabelled, digits, inputs, settings, labels=torch.full_like(wrong, NO_LABEL))
    run(plain, digits, inputs, settings.model_copy(update={"loss_weights": LossWeights()}))
    torch.testing.assert_close(flat(unlabelled), flat(plain))


def test_labels_by_hand() -> None:
    """Cross-entropy is a mean over the samples that have a label, however many a batch has without one."""
    z, teacher = torch.randn((2, 6, 4), generator=torch.Generator().manual_seed(0)).unbind()
    labels = torch.tensor([2, NO_LABEL, 0, NO_LABEL, NO_LABEL, 3])
    batch = Batch(torch.zeros(6, 1), Outputs(teacher), labels)
    plain, labelled = (
        _loss(Outputs(z), batch, Distillation(temperature=1.0, loss_weights=LossWeights(labels=weight)), None)
        for weight in (0.0, 0.3)
    )
    expected = -sum(float(z[i].log_softmax(0)[labels[i]]) for i in (0, 2, 5)) / 3
    assert float(labelled - plain) == pytest.approx(0.3 * expected, rel=1e-4)


def test_attention_transfer_brings_attention_closer(digits: Teacher, inputs: torch.Tensor) -> None:
    probe = activation_maps_probe(digits)
    gaps = {}
    for weight in (0.0, 250.0):
        student = fresh()
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


def test_feature_distillation_brings_features_closer(digits: Teacher, inputs: torch.Tensor) -> None:
    """The share of the variance of the teacher's 52 features that no linear map of the student's 16 explains."""
    unexplained = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        view = TeacherView(digits, features=features_probe(digits))
        recorder = ActivationRecorder(student, (1, 8, 8), features=True)
        settings = Distillation(
            epochs=100, batch_size=64, loss_weights=LossWeights(features=weight), augmentation=PLAIN
        )
        run(student, digits, inputs, settings, view=view, recorder=recorder)
        with torch.no_grad():
            features, teacher_features = recorder(inputs.float()).features, view(inputs.float()).features
        assert features is not None
        assert teacher_features is not None
        assert torch.equal(teacher_features, digits.features(digits.domain.to_file(inputs.float())))
        known = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
        predicted = known @ torch.linalg.lstsq(known, teacher_features.double(), driver="gelsd").solution
        unexplained[weight] = float((predicted - teacher_features).square().mean() / teacher_features.var())
    assert unexplained[10.0] < 0.75 * unexplained[0.0]


def test_the_feature_loss_does_not_depend_on_the_size_of_features() -> None:
    loss_of = FeatureLoss(5, 8, 0)
    student, teacher = torch.rand((2, 64, 8)).unbind()
    with torch.no_grad():
        loss = loss_of(student[:, :5], teacher)
        loss_of.map.weight.mul_(100)
        loss_of.map.bias.mul_(100)
        assert float(loss_of(student[:, :5], 100 * teacher)) == pytest.approx(float(loss), rel=1e-4)
        assert float(loss_of(student[:, :5], loss_of.map(student[:, :5]))) == 0


def test_the_best_is_kept_and_history_is_told(digits: Teacher, inputs: torch.Tensor) -> None:
    """A rate that is far too high at the end: the last student is not the best."""
    student = fresh()
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


def test_the_temperature_of_training_chooses(digits: Teacher, inputs: torch.Tensor) -> None:
    """A student that is sure and wrong of one sample, right of all others, against one that is vague of all."""

    class Answers(nn.Module):
        def __init__(self, wrong: float, vague: float) -> None:
            super().__init__()
            self.wrong, self.vague = nn.Parameter(torch.tensor(wrong)), vague

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = digits.logits(digits.domain.to_file(x)) * self.vague
            moved = logits.roll(1, 1) * self.wrong
            return torch.cat([moved[:1], logits[1:]]) if float(self.wrong) else logits

    for temperature, chosen in ((1.0, 2), (20.0, 1)):
        selection = StudentSelection(digits, inputs[:200], temperature=temperature)
        selection.validate(Answers(4.0, 1.0), 1)
        selection.validate(Answers(0.0, 0.6), 2)
        assert selection.chosen == chosen


def test_the_latest_is_kept_where_a_generator_gives_what_it_is_measured_on(
    digits: Teacher, inputs: torch.Tensor
) -> None:
    good, bad = fresh(), fresh(1)
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
    run(fresh(), digits, inputs, settings, listener=events.append, selection=selection)
    assert len(selection.history) < 40
    assert [entry["step"] for entry in selection.history].index(selection.chosen) == len(selection.history) - 3


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("features", [0.0, 10.0])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    digits: Teacher, inputs: torch.Tensor, tmp_path: Path, features: float, generator: bool
) -> None:
    settings = Distillation(
        epochs=6, batch_size=64, augmentation=PLAIN, validations=6, loss_weights=LossWeights(features=features)
    )

    def attempt(checkpoint: Checkpoint | None, listener: Listener = silent) -> nn.Module:
        student = fresh()
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
    kept = Checkpoint(tmp_path / "state.pt", "one")
    with pytest.raises(KeyboardInterrupt):
        attempt(kept, interrupt)
    assert not list(tmp_path.glob(".*"))
    saved = kept.load(CPU)
    assert saved is not None
    assert 20 <= saved["step"] < 48
    begun: list[int] = []
    resumed = attempt(kept, lambda event: begun.append(event.completed))
    assert min(begun) > 20
    torch.testing.assert_close(flat(resumed), flat(whole), rtol=0, atol=0)
    assert Checkpoint(kept.path, "another").load(CPU) is None


def test_an_interruption_by_the_step_that_ends_training_is_heard(
    digits: Teacher, inputs: torch.Tensor, tmp_path: Path
) -> None:
    class Stops(StudentSelection):
        def validate(self, student: nn.Module, step: int) -> dict[str, float]:
            if step == 12:
                signal.raise_signal(signal.SIGINT)
            return super().validate(student, step)

        def exhausted(self, patience: int | None) -> bool:
            return len(self.history) >= 3

    settings = Distillation(epochs=6, batch_size=64, augmentation=PLAIN, validations=12)
    with pytest.raises(KeyboardInterrupt):
        run(fresh(), digits, inputs, settings, selection=Stops(digits, inputs[:50]))


def test_a_training_that_is_done_is_not_done_again(digits: Teacher, inputs: torch.Tensor, tmp_path: Path) -> None:
    """What the checks chose is there too, when something fails after the last step."""
    settings = Distillation(epochs=2, batch_size=64, augmentation=PLAIN, validations=4)
    kept, first, again = Checkpoint(tmp_path / "state.pt", "one"), fresh(), fresh()
    run(first, digits, inputs, settings, selection=StudentSelection(digits, inputs[:50]), checkpoint=kept)
    steps: list[int] = []
    selection = StudentSelection(digits, inputs[:50])
    run(
        again,
        digits,
        inputs,
        settings,
        selection=selection,
        checkpoint=kept,
        listener=lambda event: steps.append(event.completed) if event.kind == "progress" else None,
    )
    assert not steps
    assert len(selection.history) == 4
    assert torch.equal(flat(first), flat(again))


def test_a_single_step_is_a_step(digits: Teacher, inputs: torch.Tensor) -> None:
    student, before = fresh(), flat(fresh())
    run(student, digits, inputs, Distillation(epochs=1, batch_size=len(inputs), augmentation=PLAIN))
    assert float((flat(student) - before).abs().max()) > 1e-3


def test_a_gradient_that_is_clipped_moves_less(digits: Teacher, inputs: torch.Tensor) -> None:
    """Far below Adam's epsilon, which is all that it is divided by then."""
    moved = []
    for clip in (None, 1e-10):
        student = fresh()
        settings = Distillation(epochs=1, batch_size=64, schedule="constant", augmentation=PLAIN, grad_clip=clip)
        run(student, digits, inputs, settings)
        moved.append(float((flat(student) - flat(fresh())).abs().max()))
    assert 0 < moved[1] < 0.1 * moved[0]
