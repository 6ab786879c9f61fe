"""Transfer sets that are given to another run, or made in rounds, against students of the rounds before."""

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
from zskd_onnx.pipeline.make_transfer_set import identity, student_identity

SHORT = (
    *("held_out=100", "synthesis.count=200", "synthesis.batch_size=50", "synthesis.iterations=3"),
    *("distillation.epochs=2", "distillation.batch_size=50"),
)
ROUNDS = (*SHORT, "synthesis.competing_rounds=1")


def make(
    exports: Exports, folder: Path, overrides: tuple[str, ...], listener: Listener = silent, **options: bool
) -> torch.Tensor:
    teacher = exports.path("wrn", "17")
    compress(teacher, folder, recipe="deep-inversion", overrides=overrides, listener=listener, **options)
    return TransferSet.open(folder / "transfer-set").load().inputs


def make_half(exports: Exports, folder: Path) -> None:
    """A run that is interrupted in its second round."""

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.kind == "progress" and event.total == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(exports, folder, ROUNDS, interrupt)


def test_later_rounds_compete_with_a_student(exports: Exports, tmp_path: Path) -> None:
    """The first round is that of plain DeepInversion; held-out samples belong to it."""
    plain, competing = (make(exports, tmp_path / str(len(o)), o) for o in (SHORT, ROUNDS))
    assert plain.shape == competing.shape == (300, 3, 16, 16)
    first = 100 + 100
    assert torch.equal(plain[:first], competing[:first])
    assert not torch.equal(plain[first:], competing[first:])


def test_rounds_resume(exports: Exports, tmp_path: Path) -> None:
    """The student between the rounds is found again, and what is made against it."""
    make_half(exports, tmp_path / "cut")
    assert TransferSet.open(tmp_path / "cut" / "transfer-set").count == 250
    assert torch.equal(make(exports, tmp_path / "cut", ROUNDS, resume=True), make(exports, tmp_path / "whole", ROUNDS))


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("distillation.epochs=3", {}),
        ("fine_tuning.epochs=1", {}),
        ("held_out=101", {}),
        ("seed=0", {"student": "cnn-small"}),
        ("seed=0", {"student": "mine.py:factory"}),
        ("seed=0", {"init": "auto"}),
        ("seed=0", {"data": "ones.npz"}),
    ],
)
def test_rounds_depend_on_how_students_learn(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, options: dict[str, str]
) -> None:
    """With one round there is no student that a sample could depend on."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from zskd_onnx.students.zoo.registry import STUDENTS\nfactory = STUDENTS['cnn'].build\n"
    )
    for name, value in (("zeros.npz", 0), ("ones.npz", 1)):
        np.savez(name, x=np.full((20, 3, 16, 16), value, np.float32))

    def made_from(*overrides: str, **changed: str) -> dict[str, Any]:
        options = {"student": "cnn", "data": "zeros.npz", **changed}
        return identity(prepare(exports.path("wrn", "17"), recipe="deep-inversion", overrides=overrides, **options))

    assert made_from(*SHORT, setting, **options) == made_from(*SHORT)
    assert made_from(*ROUNDS, setting, **options) != made_from(*ROUNDS)


def test_a_student_of_ones_own_is_what_its_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("a = 1\n")
    before = student_identity(f"{file}:a")
    assert before == student_identity(f"{shutil.copy(file, tmp_path / 'copy.py')}:a") != student_identity(f"{file}:b")
    file.write_text("a = 2\n")
    assert student_identity(f"{file}:a") != before
    for name in ("cnn", "package.module:factory", f"{tmp_path / 'nothing.py'}:a"):
        assert student_identity(name) == name


def test_rounds_against_another_student_do_not_resume(exports: Exports, tmp_path: Path) -> None:
    make_half(exports, tmp_path / "cut")
    with pytest.raises(UsageError, match="another student"):
        make(exports, tmp_path / "cut", (*ROUNDS, "distillation.epochs=3"), resume=True)


def test_a_reused_set_is_what_its_run_takes(digits_file: Path, tmp_path: Path) -> None:
    """Batches of 64 leave a surplus, and no run takes any of it."""
    overrides = [*SMALL, "synthesis.batch_size=64"]
    alone = compress(digits_file, tmp_path / "alone", overrides=overrides)
    assert TransferSet.open(tmp_path / "alone" / "transfer-set").count == 448
    again = compress(
        digits_file, tmp_path / "again", overrides=overrides, transfer_set=tmp_path / "alone" / "transfer-set"
    )
    assert again.student.read_bytes() == alone.student.read_bytes()


@pytest.mark.parametrize("earlier", [False, True])
def test_half_a_transfer_set_is_not_taken_for_a_whole(digits_file: Path, tmp_path: Path, earlier: bool) -> None:
    """Both numbers are told; an index of earlier versions does not hold the second."""
    overrides = ["synthesis.count=4000", "synthesis.iterations=1", "held_out=100", "distillation.epochs=1"]

    def interrupt(event: Event) -> None:
        if event.stage == "synthesis" and event.completed >= 2500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", overrides=overrides, listener=interrupt)
    half = tmp_path / "cut" / "transfer-set"
    made = TransferSet.open(half).count
    assert 2500 <= made < 4100
    if earlier:
        index = json.loads((half / "index.json").read_text())
        del index["wanted"]
        (half / "index.json").write_text(json.dumps(index))
    events: list[Event] = []
    again = compress(digits_file, tmp_path / "out", overrides=overrides, transfer_set=half, listener=events.append)
    told = [event.text for event in events if event.kind == "note" and f"{made:,} of 4,100 samples" in event.text]
    assert len(told) == (not earlier)
    assert set(told) <= set(json.loads(again.manifest.read_text())["notes"])
