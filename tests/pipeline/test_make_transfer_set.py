"""Transfer sets that another run reuses, and those made in competing rounds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SMALL, Exports
from zskd_onnx import UsageError, compress, prepare
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.pipeline.fingerprint import student_fingerprint, transfer_set_fingerprint
from zskd_onnx.synthesis.base import MAX_BATCH

SHORT = (
    *("held_out=100", "synthesis.count=200", "synthesis.batch_size=50", "synthesis.iterations=3"),
    *("distillation.epochs=2", "distillation.batch_size=50"),
)
ROUNDS = (*SHORT, "synthesis.competing_rounds=1")


def make(
    exports: Exports, folder: Path, overrides: tuple[str, ...], listener: Listener = silent, **options: bool
) -> None:
    """Run recipe "deep-inversion" on the wide residual network."""
    teacher = exports.path("wrn", "17")
    compress(
        teacher,
        folder,
        recipe="deep-inversion",
        overrides=overrides,
        listener=listener,
        allow_degenerate=True,  # its weights are random
        **options,
    )


@pytest.fixture(scope="module")
def whole(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in two rounds; tests change copies of its folder."""
    folder = tmp_path_factory.mktemp("rounds") / "whole"
    make(exports, folder, ROUNDS)
    return folder


@pytest.fixture(scope="module")
def interrupted(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, interrupted in its second round; tests resume copies of its folder."""
    folder = tmp_path_factory.mktemp("rounds") / "cut"

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.kind == "progress" and event.total == 300 and event.completed > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(exports, folder, ROUNDS, interrupt)
    return folder


def samples(folder: Path) -> torch.Tensor:
    """The samples of a run."""
    return TransferSet.open(folder / "transfer-set").load().inputs


def test_later_rounds_compete_with_a_student(exports: Exports, whole: Path, tmp_path: Path) -> None:
    """The first round, which includes the held-out samples, is plain DeepInversion."""
    make(exports, tmp_path / "plain", SHORT)
    plain, competing = samples(tmp_path / "plain"), samples(whole)
    assert plain.shape == competing.shape == (300, 3, 16, 16)
    first = 100 + 100
    assert torch.equal(plain[:first], competing[:first])
    assert not torch.equal(plain[first:], competing[first:])


def test_interrupted_rounds_resume(exports: Exports, whole: Path, interrupted: Path, tmp_path: Path) -> None:
    """The student between the rounds is trained again, and the samples against it are the same."""
    folder = shutil.copytree(interrupted, tmp_path / "cut")
    assert TransferSet.open(folder / "transfer-set").count == 250
    make(exports, folder, ROUNDS, resume=True)
    assert torch.equal(samples(folder), samples(whole))


def test_a_damaged_shard_of_a_later_round_is_made_again(exports: Exports, whole: Path, tmp_path: Path) -> None:
    """Against the student of its own round, which is trained again."""
    folder = shutil.copytree(whole, tmp_path / "out")
    shards = sorted((folder / "transfer-set").glob("*.safetensors"))
    before = [shard.read_bytes() for shard in shards]
    assert len(shards) == 6
    for shard in shards:
        shard.write_bytes(b"damaged")
    make(exports, folder, ROUNDS, resume=True)
    assert torch.equal(samples(folder), samples(whole))
    assert [shard.read_bytes() for shard in shards] == before


Fingerprint = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def fingerprint(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    """A function of overrides and options, the fingerprint of their transfer set; files are those of a folder."""
    folder = tmp_path_factory.mktemp("fingerprints")
    (folder / "own.py").write_text(
        "from zskd_onnx.students.zoo.architecture import STUDENTS\nfactory = STUDENTS['cnn'].build\n"
    )
    for name, value in (("zeros.npz", 0), ("ones.npz", 1)):
        np.savez(folder / name, x=np.full((20, 3, 16, 16), value, np.float32))

    @cache
    def compute(*overrides: str, **changed: str) -> dict[str, Any]:
        options = {"student": "cnn", "data": "zeros.npz", **changed}
        paths = {key: f"{folder / value}" if "." in value else value for key, value in options.items()}
        plan = prepare(exports.path("wrn", "17"), recipe="deep-inversion", overrides=overrides, **paths)
        return transfer_set_fingerprint(plan)

    return compute


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("distillation.epochs=3", {}),
        ("fine_tuning.epochs=1", {}),
        ("held_out=101", {}),
        ("procedural.level_lines=0.25", {}),
        ("seed=0", {"student": "cnn-small"}),
        ("seed=0", {"student": "own.py:factory"}),
        ("seed=0", {"init": "auto"}),
        ("seed=0", {"data": "ones.npz"}),
    ],
)
def test_competing_rounds_depend_on_how_students_are_trained(
    fingerprint: Fingerprint, setting: str, options: dict[str, str]
) -> None:
    """A set of one round depends on no student."""
    assert fingerprint(*SHORT, setting, **options) == fingerprint(*SHORT)
    assert fingerprint(*ROUNDS, setting, **options) != fingerprint(*ROUNDS)


def test_fingerprint_of_a_users_student_is_that_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("a = 1\n")
    before = student_fingerprint(f"{file}:a")
    assert (
        before
        == student_fingerprint(f"{shutil.copy(file, tmp_path / 'copy.py')}:a")
        != student_fingerprint(f"{file}:b")
    )
    file.write_text("a = 2\n")
    assert student_fingerprint(f"{file}:a") != before
    for name in ("cnn", "package.module:factory", f"{tmp_path / 'missing.py'}:a"):
        assert student_fingerprint(name) == name


def test_rounds_against_another_student_are_not_resumed(exports: Exports, interrupted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(interrupted, tmp_path / "cut")
    with pytest.raises(UsageError, match=r"distillation\.epochs: 3 \(there: 2\)"):
        make(exports, folder, (*ROUNDS, "distillation.epochs=3"), resume=True)


def test_reused_set_has_the_samples_that_its_own_run_used(digits_file: Path, tmp_path: Path) -> None:
    """Batches of 64 give more samples than a run uses; no run uses the rest."""
    overrides = [*SMALL, "synthesis.batch_size=64"]
    first = compress(digits_file, tmp_path / "first", overrides=overrides)
    transfer_set = tmp_path / "first" / "transfer-set"
    assert TransferSet.open(transfer_set).count == 448
    second = compress(digits_file, tmp_path / "second", overrides=overrides, transfer_set=transfer_set)
    assert second.student.read_bytes() == first.student.read_bytes()


@pytest.mark.parametrize("old_index", [False, True])
def test_incomplete_transfer_set_has_a_note(digits_file: Path, tmp_path: Path, old_index: bool) -> None:
    """The note gives both numbers; an index of an earlier version lacks the second, so there is no note."""
    overrides = ["synthesis.count=4000", "synthesis.iterations=1", "held_out=100", "distillation.epochs=1"]

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.completed >= 2500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", overrides=overrides, listener=interrupt)
    incomplete = tmp_path / "cut" / "transfer-set"
    count = TransferSet.open(incomplete).count
    assert 2500 <= count < 4100
    if old_index:
        index = json.loads((incomplete / "index.json").read_text())
        del index["wanted"]
        (incomplete / "index.json").write_text(json.dumps(index))
    events: list[Event] = []
    result = compress(
        digits_file, tmp_path / "out", overrides=overrides, transfer_set=incomplete, listener=events.append
    )
    notes = [event.text for event in events if event.kind == "note" and f"{count:,} of 4,100 samples" in event.text]
    assert len(notes) == (not old_index)
    assert set(notes) <= set(json.loads(result.manifest.read_text())["notes"])


def test_a_set_that_another_device_began_is_continued_in_its_batches(
    digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are larger on a GPU; here a CPU with another default stands for it."""
    folder, settings = (
        tmp_path / "out",
        ["synthesis.iterations=2", "synthesis.count=300", "held_out=100", "distillation.epochs=1", "student=cnn"],
    )

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.completed >= 120:
            raise KeyboardInterrupt

    monkeypatch.setitem(MAX_BATCH, "cpu", 30)
    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, folder, overrides=settings, listener=interrupt)
    begun = samples(folder)
    recorded = json.loads((folder / "run.json").read_text())
    recorded["options"]["device"] = "cuda"
    (folder / "run.json").write_text(json.dumps(recorded))
    monkeypatch.setitem(MAX_BATCH, "cpu", 100)
    notes: list[str] = []
    compress(None, folder, resume=True, device="cpu", listener=lambda event: notes.append(event.text))
    assert any("continued on cpu, begun on cuda" in note for note in notes)
    assert torch.equal(samples(folder)[: len(begun)], begun)
    monkeypatch.setitem(MAX_BATCH, "cpu", 30)
    compress(digits_file, tmp_path / "whole", overrides=settings)
    assert torch.equal(samples(folder), samples(tmp_path / "whole"))
