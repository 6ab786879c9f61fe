"""Transfer sets that another run reuses, and those made in competing rounds."""

from __future__ import annotations

import json
import shutil
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

SHORT = (
    *("held_out=100", "synthesis.count=200", "synthesis.batch_size=50", "synthesis.iterations=3"),
    *("distillation.epochs=2", "distillation.batch_size=50"),
)
ROUNDS = (*SHORT, "synthesis.competing_rounds=1")


def make(
    exports: Exports, folder: Path, overrides: tuple[str, ...], listener: Listener = silent, **options: bool
) -> torch.Tensor:
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
    return TransferSet.open(folder / "transfer-set").load().inputs


def interrupt_second_round(exports: Exports, folder: Path) -> None:
    """Start a run and interrupt it in its second round."""

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.kind == "progress" and event.total == 300 and event.completed > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(exports, folder, ROUNDS, interrupt)


def test_later_rounds_compete_with_a_student(exports: Exports, tmp_path: Path) -> None:
    """The first round, which includes the held-out samples, is plain DeepInversion."""
    plain, competing = (make(exports, tmp_path / str(len(o)), o) for o in (SHORT, ROUNDS))
    assert plain.shape == competing.shape == (300, 3, 16, 16)
    first = 100 + 100
    assert torch.equal(plain[:first], competing[:first])
    assert not torch.equal(plain[first:], competing[first:])


def test_interrupted_rounds_resume(exports: Exports, tmp_path: Path) -> None:
    """The student between the rounds is trained again, and the samples against it are the same."""
    interrupt_second_round(exports, tmp_path / "cut")
    assert TransferSet.open(tmp_path / "cut" / "transfer-set").count == 250
    assert torch.equal(make(exports, tmp_path / "cut", ROUNDS, resume=True), make(exports, tmp_path / "whole", ROUNDS))


def test_a_damaged_shard_of_a_later_round_is_made_again(exports: Exports, tmp_path: Path) -> None:
    """Against the student of its own round, which is trained again."""
    whole = make(exports, tmp_path / "out", ROUNDS)
    shards = sorted((tmp_path / "out" / "transfer-set").glob("*.safetensors"))
    before = [shard.read_bytes() for shard in shards]
    assert len(shards) == 2
    for shard in shards:
        shard.write_bytes(b"damaged")
    assert torch.equal(make(exports, tmp_path / "out", ROUNDS, resume=True), whole)
    assert [shard.read_bytes() for shard in shards] == before


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
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, options: dict[str, str]
) -> None:
    """A set of one round depends on no student."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "from zskd_onnx.students.zoo.architecture import STUDENTS\nfactory = STUDENTS['cnn'].build\n"
    )
    for name, value in (("zeros.npz", 0), ("ones.npz", 1)):
        np.savez(name, x=np.full((20, 3, 16, 16), value, np.float32))

    def fingerprint(*overrides: str, **changed: str) -> dict[str, Any]:
        options = {"student": "cnn", "data": "zeros.npz", **changed}
        plan = prepare(exports.path("wrn", "17"), recipe="deep-inversion", overrides=overrides, **options)
        return transfer_set_fingerprint(plan)

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


def test_rounds_against_another_student_are_not_resumed(exports: Exports, tmp_path: Path) -> None:
    interrupt_second_round(exports, tmp_path / "cut")
    with pytest.raises(UsageError, match=r"distillation\.epochs: 3 \(there: 2\)"):
        make(exports, tmp_path / "cut", (*ROUNDS, "distillation.epochs=3"), resume=True)


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
