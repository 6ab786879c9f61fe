"""The samples with which a file is quantised: some to calibrate on, others to judge by."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.copy_set import copy_set
from zskd_onnx.data.real_samples import read_real_samples
from zskd_onnx.data.remote_folder import absolute_location, is_url
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Listener
from zskd_onnx.pipeline.choose_recipe import default_recipe
from zskd_onnx.pipeline.judge_samples import LARGE_TEACHER
from zskd_onnx.pipeline.training_samples import DRAWN
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.synthesis.fill import fill
from zskd_onnx.system.randomness import rng_for, seed_for
from zskd_onnx.system.rows import in_memory
from zskd_onnx.teacher.teacher import Teacher

CALIBRATION, HELD_OUT = 512, 1024
"""Samples to calibrate on, and to judge by."""

LARGE_CALIBRATION, LARGE_HELD_OUT = 128, 256
"""The same for classifiers of ``LARGE_TEACHER`` multiply-adds or more."""


@dataclass(frozen=True)
class QuantizationSamples:
    """Samples in the unit space.

    Attributes:
        calibration: samples (N, *shape) that give the ranges of activations.
        held_out: other samples (M, *shape), by which the quantised file is judged.
        kind: of both, in words.
        notes: how real samples were read.
    """

    calibration: Tensor
    held_out: Tensor
    kind: str
    notes: tuple[str, ...] = ()


def make_samples(teacher: Teacher, seed: int, device: torch.device, listener: Listener) -> QuantizationSamples:
    """Samples of the recipe that suits a classifier: procedural images, or synthesised samples for natural images and vectors.

    Args:
        seed: of every random draw; both parts have seeds of their own.
        device: of the synthesis.
    """
    recipe, _ = default_recipe(teacher)
    calibration, held_out = _counts(teacher)
    shape = teacher.domain.shape
    images = DrawnImages(recipe.procedural, shape) if recipe.procedural and recipe.procedural.kinds(shape) else None
    drawn = images if images is not None and not images.natural else None

    def make(part: str, count: int) -> Tensor:
        own_seed = seed_for(seed, "quantisation", part)
        if drawn is not None:
            return _draw(drawn, count, own_seed)
        return _synthesise(recipe, teacher, images, count, own_seed, device, listener)

    kind = f"samples that recipe {recipe.name} synthesises" if drawn is None else "procedural images"
    return QuantizationSamples(make("calibration", calibration), make("held out", held_out), kind)


def stored_samples(location: str | Path, teacher: Teacher, listener: Listener) -> QuantizationSamples:
    """Samples of the transfer set of an earlier run, on the classifier or on its teacher.

    Args:
        location: a folder, or a URL, of which the shards are copied that are needed.

    Raises:
        UsageError: there is no set, or its samples have another shape or range.
    """
    if not is_url(place := absolute_location(location)):
        return _of_set(TransferSet.open(Path(place)), str(location), teacher)
    with tempfile.TemporaryDirectory() as folder:
        copy_set(place, Path(folder), listener, sum(_counts(teacher)))
        return _of_set(TransferSet.open(Path(folder)), place, teacher)


def _of_set(transfer_set: TransferSet, location: str, teacher: Teacher) -> QuantizationSamples:
    """The first samples of a transfer set, if they fit."""
    domain = teacher.domain
    recorded, expected = transfer_set.identity.get("domain"), {"low": list(domain.low), "high": list(domain.high)}
    if isinstance(recorded, dict):
        for key, value in {"shape": list(domain.shape), **expected}.items():
            if recorded.get(key, value) != value:
                raise UsageError(
                    f"{location}: made for inputs with {key} {recorded[key]}, expected {value}; remove --transfer-set"
                )
    inputs = in_memory(transfer_set.load(sum(_counts(teacher))).inputs)
    if inputs.shape[1:] != domain.shape:
        raise UsageError(
            f"{location}: has samples of shape {list(inputs.shape[1:])}, expected {list(domain.shape)}; remove --transfer-set"
        )
    return _split(inputs, teacher, f"samples of {location}")


def real_samples(path: Path, teacher: Teacher, seed: int) -> QuantizationSamples:
    """Real samples of an .npz file in random order.

    Raises:
        UsageError: see ``read_real_samples``.
    """
    samples = read_real_samples(path, teacher, None, seed)
    return _split(samples.inputs, teacher, f"real samples of {path}", samples.notes)


def _counts(teacher: Teacher) -> tuple[int, int]:
    """Numbers of samples to calibrate on, and to judge by."""
    if teacher.cost.multiply_adds >= LARGE_TEACHER:
        return LARGE_CALIBRATION, LARGE_HELD_OUT
    return CALIBRATION, HELD_OUT


def _split(inputs: Tensor, teacher: Teacher, kind: str, notes: tuple[str, ...] = ()) -> QuantizationSamples:
    """At most half of the samples to calibrate on, and others to judge by."""
    if len(inputs) < 2:
        raise UsageError(f"{kind}: expected two samples or more, to calibrate on and to judge by")
    calibration, held_out = _counts(teacher)
    first = min(calibration, len(inputs) // 2)
    return QuantizationSamples(inputs[:first], inputs[first : first + held_out], kind, notes)


def _draw(images: DrawnImages, count: int, seed: int) -> Tensor:
    parts = range(0, count, DRAWN)
    return torch.cat([images.draw(min(DRAWN, count - first), rng_for(seed, first)) for first in parts])


def _synthesise(
    recipe: Recipe,
    teacher: Teacher,
    images: DrawnImages | None,
    count: int,
    seed: int,
    device: torch.device,
    listener: Listener,
) -> Tensor:
    """Samples as a run with the recipe makes them."""
    assert recipe.synthesis is not None
    synthesis = recipe.synthesis.fitted(teacher, device)
    with tempfile.TemporaryDirectory() as folder:
        transfer_set = TransferSet.create(Path(folder), {})
        fill(transfer_set, teacher.to(device), recipe.prior, synthesis, count, seed, device, listener, images=images)
        teacher.to("cpu")
        return in_memory(transfer_set.load(count).inputs)
