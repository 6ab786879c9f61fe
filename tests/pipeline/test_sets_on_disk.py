"""Runs whose transfer set is larger than the memory that it may take: they give the same as from memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL
from zskd_onnx import CompressionResult, compress, prepare, synthesize
from zskd_onnx.data import transfer_set as module
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import silent
from zskd_onnx.pipeline.fingerprint import training_fingerprint
from zskd_onnx.pipeline.judge_samples import judge_samples
from zskd_onnx.pipeline.quantization_samples import stored_samples
from zskd_onnx.students.choose import build


@pytest.fixture
def shards(finished: CompressionResult) -> Path:
    return finished.student.parent / "transfer-set"


@pytest.fixture(params=[1, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """With four threads, two of them prepare batches."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No set fits into memory."""
    monkeypatch.setattr(module, "MEMORY_SHARE", 1 << 80)


@pytest.mark.usefixtures("threads")
def test_the_student_is_the_same(
    digits_file: Path, digits_data: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, with quantised file, fine-tuning and real samples beside the set."""
    files = {}
    for place, share in (("memory", 4), ("disk", 1 << 80)):
        monkeypatch.setattr(module, "MEMORY_SHARE", share)
        notes: list[str] = []
        result = compress(
            digits_file,
            tmp_path / place,
            overrides=[*SMALL, "fine_tuning.epochs=1", "deployment.quantize=int8"],
            data=digits_data,
            transfer_set=shards,
            listener=lambda event, notes=notes: notes.append(event.text),  # type: ignore[misc]
        )
        files[place] = [(result.student.with_name(name)).read_bytes() for name in ("student.onnx", "student-int8.onnx")]
        assert any("are read from disk" in note for note in notes) == (place == "disk")
    assert files["memory"] == files["disk"]


@pytest.mark.usefixtures("little_memory")
def test_a_run_that_makes_its_set(digits_file: Path, finished: CompressionResult, tmp_path: Path) -> None:
    result = compress(digits_file, tmp_path / "out", overrides=SMALL)
    assert result.student.read_bytes() == finished.student.read_bytes()


def test_what_depends_on_the_samples(digits_file: Path, shards: Path) -> None:
    """A training that began from memory can be continued from disk: its fingerprint is the same."""
    plan = prepare(digits_file, overrides=SMALL)
    student = build(plan.choice, plan.teacher.domain.shape, plan.teacher.classes, 0)
    memory, disk = (TransferSet.open(shards).load(limit=limit) for limit in (1 << 40, 0))
    assert training_fingerprint(plan, student, memory) == training_fingerprint(plan, student, disk)
    answers = [judge_samples(plan, samples, allow_degenerate=True) for samples in (memory, disk)]
    assert answers[0] == answers[1]


def test_samples_of_a_quantiser(digits_file: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = prepare(digits_file, overrides=SMALL).teacher
    memory = stored_samples(shards, teacher, silent)
    monkeypatch.setattr(module, "MEMORY_SHARE", 1 << 80)
    disk = stored_samples(shards, teacher, silent)
    assert torch.equal(memory.calibration, disk.calibration)
    assert torch.equal(memory.held_out, disk.held_out)


@pytest.mark.parametrize("to", ["npz", "npy", "safetensors", "png"])
def test_synthesised_samples(digits_file: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"overrides": ["synthesis.iterations=3", "held_out=100"], "count": 300, "to": to}
    contents = []
    for place, share in (("memory", 4), ("disk", 1 << 80)):
        monkeypatch.setattr(module, "MEMORY_SHARE", share)
        made = synthesize(digits_file, tmp_path / place, **options)  # type: ignore[arg-type]
        paths = [made.predictions, *(sorted(made.samples.rglob("*.png")) if to == "png" else [made.samples])]
        contents.append({path.relative_to(tmp_path / place): path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
