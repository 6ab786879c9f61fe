"""Ctrl-C in a run, and the run that resumes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import Cli
from zskd_onnx import compress
from zskd_onnx.data.transfer_set import TransferSet

SLOWER = ("synthesis.count=4000", "synthesis.iterations=10", "held_out=100", "distillation.epochs=4")


@pytest.fixture(scope="module")
def uninterrupted(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch.set_num_threads(1)
    result = compress(digits_file, tmp_path_factory.mktemp("whole") / "out", overrides=SLOWER)
    return result.student.read_bytes()


def in_synthesis(folder: Path) -> bool:
    index = folder / "transfer-set" / "index.json"
    return index.is_file() and '"count"' in index.read_text()


def in_distillation(folder: Path) -> bool:
    """The picture is drawn right before distillation; the event log has too few steps to read this from it."""
    return (folder / "class_similarity.png").is_file()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, in child processes too; a background job may have inherited that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("reached", [in_synthesis, in_distillation])
def test_interrupted_run_resumes_to_the_same_student(
    cli: Cli,
    environment: dict[str, str],
    tmp_path: Path,
    digits_file: Path,
    uninterrupted: bytes,
    reached: Callable[[Path], bool],
) -> None:
    folder = tmp_path / "out"
    arguments = ["compress", str(digits_file), "--output", str(folder)]
    for setting in SLOWER:
        arguments += ["--set", setting]
    with subprocess.Popen(
        [sys.executable, "-m", "zskd_onnx", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        while not reached(folder):
            assert process.poll() is None, "the run ended before it was interrupted"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "--resume" in stderr.splitlines()[-1]
    assert not (folder / "student.onnx").exists()
    assert not (folder / "manifest.json").exists()
    assert not list(folder.rglob("*.partial"))
    count = TransferSet.open(folder / "transfer-set").count
    assert 0 < count < 4100 if reached is in_synthesis else count == 4100

    done = cli(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert (folder / "student.onnx").read_bytes() == uninterrupted
