"""Int8 files that miss their gate, and what equalisation and fine-tuning make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from tests.quantization.rescaled import rescale
from zskd_onnx import Quantization, UnsupportedTeacherError, load_teacher, quantize
from zskd_onnx.events import Event, silent
from zskd_onnx.export.onnx import save
from zskd_onnx.pipeline import recover_agreement as module
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.pipeline.quantization_samples import make_samples
from zskd_onnx.pipeline.recorded_run import Changed
from zskd_onnx.pipeline.recover_agreement import Candidate, Recovery, recover_agreement
from zskd_onnx.pipeline.run_report import _quantized_figures
from zskd_onnx.quantization.quantise_model import quantise_model

Rescaled = Callable[..., Path]


@pytest.fixture
def hard(digits_file: Path, tmp_path: Path) -> Rescaled:
    """A function that writes the bundled teacher with channels of different sizes."""
    return lambda spread, **options: rescale(digits_file, tmp_path / "hard.onnx", spread, **options)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 20)


def predictions(path: Path | str) -> np.ndarray:
    """The classes of the real digits."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": held_out_digits()[0]})[0].argmax(1)


def real_agreement(path: Path, int8: Path | str) -> float:
    return float(np.mean(predictions(path) == predictions(int8)))


def as_it_is(path: Path, output: Path) -> Path:
    """The file in int8 with its own weights."""
    teacher = load_teacher(path)
    samples = make_samples(teacher, 0, torch.device("cpu"), silent)
    save(quantise_model(teacher, "int8", samples.calibration), output, {})
    return output


def test_equalisation_repairs_channels_of_different_sizes(hard: Rescaled, tmp_path: Path) -> None:
    path = hard(5)
    before = path.read_bytes()
    assert real_agreement(path, as_it_is(path, tmp_path / "first.onnx")) < 0.6
    result = quantize(path, tmp_path / "int8.onnx")
    changed = result.changed_weights
    assert changed is not None
    assert (changed.equalised, changed.steps) == (True, 0)
    assert changed.agreement_before < 0.6
    assert result.agreement is not None
    assert result.agreement > 0.98
    assert real_agreement(path, result.quantized_file.path) > 0.98
    assert "so its weights were equalised" in result.notes[0]
    assert path.read_bytes() == before
    content = json.loads(json.dumps(result.to_dict()))
    assert content["changed_weights"] == vars(changed)
    assert Quantization.from_dict(content, tmp_path).changed_weights == changed


def test_fine_tuning_raises_agreement_where_nothing_can_be_equalised(hard: Rescaled, tmp_path: Path) -> None:
    path = hard(5, clip=True)
    first = real_agreement(path, as_it_is(path, tmp_path / "first.onnx"))
    assert first < 0.6
    events: list[Event] = []
    result = quantize(path, tmp_path / "int8.onnx", listener=events.append, min_agreement=0.9)
    changed = result.changed_weights
    assert changed is not None
    assert (changed.equalised, changed.steps) == (False, module.STEPS)
    assert result.agreement is not None
    assert result.agreement > changed.agreement_before + 0.2
    assert real_agreement(path, result.quantized_file.path) > first + 0.15  # 0.24 and more, by processor
    mine = [event for event in events if event.stage == "quantisation"]
    assert "expected 90 %" in mine[0].text
    progress = [(event.completed, event.total) for event in mine if event.kind == "progress"]
    assert progress[-1] == (module.STEPS, module.STEPS)


def test_a_file_that_passes_keeps_its_weights(digits_file: Path, tmp_path: Path) -> None:
    result = quantize(digits_file, tmp_path / "int8.onnx", min_agreement=0.99)
    assert result.changed_weights is None
    assert "changed_weights" not in result.to_dict()
    teacher = load_teacher(digits_file)
    expected = quantise_model(teacher, "int8", make_samples(teacher, 0, torch.device("cpu"), silent).calibration)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    assert graph.SerializeToString(deterministic=True) == expected.graph.SerializeToString(deterministic=True)


@pytest.mark.usefixtures("few_steps")
def test_weights_that_are_no_better_are_dropped(hard: Rescaled) -> None:
    teacher = load_teacher(hard(5))
    unit = torch.rand((64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    first = Candidate(quantise_model(teacher, "int8", unit), 0.5)
    recovery = Recovery(0.9, 0, torch.device("cpu"), silent)
    best, notes = recover_agreement(first, teacher, unit, lambda model: 0.5, recovery)
    assert best is first
    assert "neither equalisation nor fine-tuning changed that" in notes[0]


def test_a_file_that_cannot_be_trained_is_kept(hard: Rescaled, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise UnsupportedTeacherError("no weights")

    monkeypatch.setattr(module, "fine_tune", refuse)
    teacher = load_teacher(hard(5, clip=True))
    unit = torch.rand((64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    first = Candidate(quantise_model(teacher, "int8", unit), 0.5)
    recovery = Recovery(0.9, 0, torch.device("cpu"), silent)
    best, notes = recover_agreement(first, teacher, unit, lambda model: 0.5, recovery)
    assert best is first
    assert "cannot be fine-tuned for int8 (no weights)" in notes[0]


def test_the_report_shows_the_agreement_before() -> None:
    changed = {"equalised": True, "steps": 400, "agreement_before": 0.5}
    quantized = SimpleNamespace(
        quantized=SimpleNamespace(bytes=10),
        latency=SimpleNamespace(before=SimpleNamespace(median=2.0), after=SimpleNamespace(median=1.0)),
        accuracy=None,
        agreement=0.99,
        confident=100,
        changed_weights=Changed.model_validate(changed),
    )
    manifest = SimpleNamespace(sizes=SimpleNamespace(student=SimpleNamespace(bytes=40)))
    *_, last = _quantized_figures(manifest, quantized)  # type: ignore[arg-type]
    assert last["name"] == "the same before the weights were equalised and fine-tuned for 400 steps"
    assert last["after"].startswith("50")
