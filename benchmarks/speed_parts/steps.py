"""Rows of a distillation step: that of ``compress``, beside a step of a plain loop.

A step is the batch of 128, the teacher's answers with what the losses compare, the student's forward and backward pass,
and the step of AdamW. LeNet-5 is distilled to its half on procedural images, with the teacher's features. ResNet-20 is
distilled to ``thin:0.5`` on impressions, with the outputs of its blocks; its convolutions are normalised while it is
trained. Both loops compute the same losses on batches that this package draws and augments.

Teacher and student of the plain loop are plain modules in torch's standard layout, in float32, with AdamW as torch makes it
by default. Their weights are random, and they match the first half of the teacher's channels, which takes the same time.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from speed_parts.impressions import LENET5, RESNET20, imported_options, plain_net, teacher_file
from speed_parts.plain_nets import WIDTHS, ResNet20, lenet5_half, scaled_error, soft_targets
from speed_parts.rows import Loops, Options, Row, Work, in_turns

BATCH, MOST_STEPS = 128, 10_000
STEPS = {"lenet5": 10, "resnet20": 1}
"""Steps of a round."""


class ReadyError(Exception):
    """The student is about to be trained, and all that a step needs is there."""


@dataclass(frozen=True)
class Training:
    """What ``compress`` passes to the training of its student."""

    student: nn.Module
    sources: Any
    view: Any
    settings: Any
    recorder: Any
    precision: torch.dtype


def lenet5_rows(options: Options) -> Iterator[Row]:
    """Rows of LeNet-5."""
    training = _captured(
        "lenet5",
        options,
        recipe="procedural",
        student="lenet5-half",
        overrides=["procedural.natural_images=false", "held_out=100", "distillation.epochs=1"],
    )
    teacher, student = plain_net("lenet5", options), lenet5_half()
    assert isinstance(teacher, nn.Sequential)
    plain = _repeated(_plain_lenet5(training, teacher, student), STEPS["lenet5"])
    yield from in_turns(_loops("lenet5", f"{LENET5} to its half", training, plain), options.rounds)


def resnet20_rows(options: Options) -> Iterator[Row]:
    """Rows of ResNet-20."""
    training = _captured(
        "resnet20",
        options,
        recipe="boundary",
        student="thin:0.5",
        overrides=["synthesis.count=500", "held_out=100", "distillation.epochs=1", f"distillation.batch_size={BATCH}"],
    )
    first, second, third = (width // 2 for width in WIDTHS)
    student = ResNet20((first, second, third), normalised=True)
    teacher = plain_net("resnet20", options)
    assert isinstance(teacher, ResNet20)
    plain = _repeated(_plain_resnet20(training, teacher, student), STEPS["resnet20"])
    yield from in_turns(_loops("resnet20", f"{RESNET20} to thin:0.5", training, plain), options.rounds)


def _captured(network: str, options: Options, **arguments: Any) -> Training:
    """Let ``compress`` prepare a training, and end it when the training begins."""
    from zskd_onnx import DomainWarning, compress

    captured: list[Training] = []

    def capture(student: nn.Module, sources: Any, view: Any, settings: Any, *_: Any, **others: Any) -> None:
        captured.append(Training(student, sources, view, settings, others["recorder"], others["precision"]))
        raise ReadyError

    with (
        patch("zskd_onnx.pipeline.train_student.train", capture),
        contextlib.suppress(ReadyError),
        warnings.catch_warnings(action="ignore", category=DomainWarning),  # the LeNet-5 has random weights
    ):
        compress(
            teacher_file(network, options),
            options.folder / f"step-{network}",
            allow_degenerate=True,
            **imported_options(network),
            **arguments,
        )
    return captured[0]


def _loops(network: str, name: str, training: Training, plain: Work) -> Loops:
    types = {"float32": torch.float32}
    if training.precision == torch.bfloat16:
        types["bfloat16"] = torch.bfloat16
    package = {
        name: _repeated(_package_step(training, number_type), STEPS[network]) for name, number_type in types.items()
    }
    return Loops(f"a distillation step, {name}", "milliseconds", 1e3 / STEPS[network], plain, package)


def _package_step(training: Training, precision: torch.dtype) -> Work:
    """A step of this package, as ``zskd_onnx.distillation.train`` takes it."""
    from zskd_onnx.distillation import train
    from zskd_onnx.distillation.precision import computing_in
    from zskd_onnx.teacher.probes.outputs import Outputs

    device, student, settings = torch.device("cpu"), training.student, training.settings
    student.to(memory_format=torch.channels_last)
    student.train()
    forward = training.recorder or (lambda x: Outputs(student(x)))
    feature_loss = train._feature_loss(training.recorder, training.view, settings, 0, device)
    parameters = [*student.parameters(), *([] if feature_loss is None else feature_loss.parameters())]
    optimiser = train._optimiser(parameters, settings)
    schedule = train._schedule(optimiser, settings, MOST_STEPS)
    batches = _batches(training, training.view, precision)

    def step() -> None:
        batch = next(batches)
        with computing_in(precision, device):
            outputs = forward(batch.x)
        loss = train._loss(outputs.float(), batch, settings, feature_loss)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    return step


def _plain_lenet5(training: Training, teacher: nn.Sequential, student: nn.Sequential) -> Work:
    """A step of the plain loop on LeNet-5."""
    features = nn.Linear(84, 84)
    weight, temperature = training.settings.loss_weights.features, training.settings.temperature

    def loss_of(x: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher[:-1](x)
            answers = teacher[-1](wanted)
        hidden = student[:-1](x)
        return soft_targets(student[-1](hidden), answers, temperature) + weight * scaled_error(features(hidden), wanted)

    return _plain_step(training, [*student.parameters(), *features.parameters()], loss_of)


def _plain_resnet20(training: Training, teacher: ResNet20, student: ResNet20) -> Work:
    """A step of the plain loop on ResNet-20."""
    student.train()
    weight, temperature = training.settings.loss_weights.blocks, training.settings.temperature

    def loss_of(x: Tensor) -> Tensor:
        with torch.no_grad():
            answers, wanted = teacher.with_blocks(x)
            wanted = [block.index_select(1, torch.arange(block.shape[1] // 2)) for block in wanted]
        logits, blocks = student.with_blocks(x)
        errors = [scaled_error(block, of_teacher) for block, of_teacher in zip(blocks, wanted, strict=True)]
        return soft_targets(logits, answers, temperature) + weight * torch.stack(errors).mean()

    return _plain_step(training, list(student.parameters()), loss_of)


def _plain_step(training: Training, parameters: list[nn.Parameter], loss_of: Callable[[Tensor], Tensor]) -> Work:
    rate = training.settings.learning_rate
    optimiser = torch.optim.AdamW(parameters, rate, weight_decay=training.settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=MOST_STEPS)
    batches = _batches(training, _no_answers, torch.float32)

    def step() -> None:
        loss = loss_of(next(batches).x.contiguous())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    return step


def _no_answers(x: Tensor) -> Any:
    """A teacher that costs nothing: the plain loop asks its own."""
    from zskd_onnx.teacher.probes.outputs import Outputs

    return Outputs(x.new_zeros(len(x), 1))


def _batches(training: Training, view: Any, precision: torch.dtype) -> Iterator[Any]:
    steps, augmentation = range(MOST_STEPS), training.settings.augmentation
    return training.sources.batches(steps, MOST_STEPS, view, augmentation, 0, training.student, precision=precision)


def _repeated(step: Work, count: int) -> Work:
    def several() -> None:
        for _ in range(count):
            step()

    return several
