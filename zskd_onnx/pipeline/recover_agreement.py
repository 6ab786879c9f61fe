"""An int8 file that misses its gate: made again from equalised and fine-tuned weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor

from zskd_onnx.errors import ZskdError
from zskd_onnx.events import Event, Listener
from zskd_onnx.pipeline.judge_samples import LARGE_TEACHER
from zskd_onnx.pipeline.quantization_result import ChangedWeights
from zskd_onnx.quantization.equalisation import equalise
from zskd_onnx.quantization.fine_tuning import fine_tune
from zskd_onnx.quantization.prepare import prepare
from zskd_onnx.quantization.quantise_model import convert
from zskd_onnx.teacher.teacher import Teacher

STEPS, LARGE_STEPS = 400, 100
"""Steps of the fine-tuning, and those for classifiers of ``LARGE_TEACHER`` multiply-adds or more."""


@dataclass(frozen=True)
class Recovery:
    """When and how an int8 file is made again.

    Attributes:
        gate: agreement below which this happens; 0 turns it off.
        seed: of the fine-tuning.
        device: of the fine-tuning.
        listener: is told why it happens, and how far it is.
    """

    gate: float
    seed: int
    device: torch.device
    listener: Listener


@dataclass(frozen=True)
class Candidate:
    """A quantised model.

    Attributes:
        model: the int8 model.
        agreement: with the float file, on the held-out samples of which the float file is confident.
        changed: how its weights differ from the float file's; None where they are the same.
    """

    model: onnx.ModelProto
    agreement: float
    changed: ChangedWeights | None = None


def recover_agreement(
    first: Candidate,
    classifier: Teacher,
    unit: Tensor,
    judge: Callable[[onnx.ModelProto], float],
    recovery: Recovery,
) -> tuple[Candidate, tuple[str, ...]]:
    """The best int8 model of those from the float file's weights, equalised ones, and fine-tuned ones; and notes.

    Equal ranges of channels come first because they cost no training; the fine-tuning starts from the better weights.
    It is left out where equalisation alone meets the gate.

    Args:
        first: from the float file's weights.
        classifier: the float file.
        unit: calibration samples (N, *shape) in the unit space.
        judge: gives a model's agreement.
    """
    best, before = first, f"{100 * first.agreement:.2f} %"
    reason = f"the int8 file agrees with the float file on {before} of the confident held-out samples"
    tell = recovery.listener
    tell(Event("note", "quantisation", f"{reason}, expected {100 * recovery.gate:g} %: its weights are changed"))
    try:
        for candidate in _candidates(first, classifier, unit, judge, recovery):
            if candidate.agreement > best.agreement:
                best = candidate
            if best.agreement >= recovery.gate:
                break
    except ZskdError as error:
        text = f"the weights cannot be fine-tuned for int8 ({error})"
        tell(Event("note", "quantisation", text))
        return best, (text,)
    if best.changed is None:
        return best, (f"{reason}; neither equalisation nor fine-tuning changed that",)
    return best, (f"{reason} at first, so its weights were {best.changed}",)


def _candidates(
    first: Candidate,
    classifier: Teacher,
    unit: Tensor,
    judge: Callable[[onnx.ModelProto], float],
    recovery: Recovery,
) -> Iterator[Candidate]:
    """The model from equalised weights, and the one from fine-tuned weights."""
    start, weights = first, prepare(classifier)
    equalised = equalise(weights, classifier, unit)
    if equalised is not None:
        model = convert(equalised, classifier, "int8", unit)
        candidate = Candidate(model, judge(model), ChangedWeights(True, 0, first.agreement))
        yield candidate
        if candidate.agreement >= first.agreement:
            start, weights = candidate, equalised
    steps = LARGE_STEPS if classifier.cost.multiply_adds >= LARGE_TEACHER else STEPS
    tuned = fine_tune(weights, start.model, classifier, unit, steps, recovery.seed, recovery.device, recovery.listener)
    model = convert(tuned, classifier, "int8", unit)
    yield Candidate(model, judge(model), ChangedWeights(start is not first, steps, first.agreement))
