"""What ends a run early, and the run that resumes it: the student is that of an undisturbed run, and nothing is lost.

``benchmarks/interruptions.py`` does the same at many random moments.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import file_size_limit
from zskd_onnx import Cancelled, UsageError, compress
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event

SETTINGS = (
    *("synthesis.count=800", "synthesis.batch_size=20", "synthesis.iterations=5", "held_out=100"),
    *("distillation.epochs=8", "distillation.batch_size=50", "student=cnn"),
)
"""Three shards of samples, 128 steps of training."""

OPTIONS = [part for setting in SETTINGS for part in ("--set", setting)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def undisturbed(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student of a run that nothing disturbed."""
    return compress(digits_file, tmp_path_factory.mktemp("whole") / "out", overrides=SETTINGS).student


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt; a background job may have inherited that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def shards(folder: Path) -> dict[str, bytes]:
    """The shards of a transfer set, all of which are whole."""
    transfer_set = TransferSet.open(folder / "transfer-set")
    assert transfer_set.damaged(transfer_set.count) == []
    return {path.name: path.read_bytes() for path in sorted((folder / "transfer-set").glob("*.safetensors"))}


def end(error: BaseException) -> None:
    """End a run as a listener does, or as Ctrl-C in the middle of a step."""
    if isinstance(error, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    else:
        raise error


def ending(error: BaseException, stage: str, completed: int) -> Callable[[Event], None]:
    """A listener that ends the run once a stage has come so far."""

    def listen(event: Event) -> None:
        if (event.kind, event.stage) == ("progress", stage) and event.completed >= completed:
            end(error)

    return listen


@pytest.mark.usefixtures("interruptible")
def test_a_run_that_is_ended_again_and_again(digits_file: Path, tmp_path: Path, undisturbed: Path) -> None:
    """By a full disk, by exceptions of listeners, by Ctrl-C; the last time it is resumed it gives the same student.

    The full disk is a limit of the size of files, beyond which writing fails in the same way.
    """
    folder = tmp_path / "out"
    with file_size_limit(15_000), pytest.raises(OSError, match=r"too large: '\S+shard-00000000\.safetensors'") as full:
        compress(digits_file, folder, overrides=SETTINGS)
    assert full.value.__notes__[0].startswith("no sample was made yet; to continue: zskd-onnx compress --resume ")
    assert not list(folder.rglob("*.partial"))
    before = shards(folder)
    assert before == {}
    cases = (
        (RuntimeError("odd"), "synthesis", 500, " samples kept in "),
        (KeyboardInterrupt(), "distillation", 40, "900 samples and the state of training kept in "),
        (Cancelled(), "distillation", 100, "900 samples and the state of training kept in "),
    )
    for error, stage, completed, note in cases:
        with pytest.raises(type(error)) as ended:
            compress(None, folder, resume=True, listener=ending(error, stage, completed))
        assert note in ended.value.__notes__[0]
        assert before.items() <= shards(folder).items()
        before = shards(folder)
        if stage == "distillation":
            assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == completed
        else:
            assert TransferSet.open(folder / "transfer-set").count >= completed
    result = compress(digits_file, folder, overrides=SETTINGS, resume=True)
    assert result.student.read_bytes() == undisturbed.read_bytes()
    assert shards(folder) == before
    assert not list(folder.rglob(".*"))
    assert not (folder / "checkpoint.pt").exists()


def test_a_second_run_is_refused_and_the_student_of_an_earlier_one_stays(
    digits_file: Path, tmp_path: Path, undisturbed: Path
) -> None:
    folder, refusals = tmp_path / "out", []
    shutil.copytree(undisturbed.parent, folder)

    def start_another(event: Event) -> None:
        if event.stage == "distillation":
            for options in ({"resume": True}, {"overwrite": True}):
                with pytest.raises(UsageError) as error:
                    compress(digits_file, folder, overrides=SETTINGS, seed=1, **options)
                refusals.append(str(error.value))
            raise Cancelled

    with pytest.raises(Cancelled):
        compress(digits_file, folder, overrides=SETTINGS, seed=1, overwrite=True, listener=start_another)
    assert len(refusals) == 2
    assert all(text.startswith(f"{folder}: another run (process ") for text in refusals)
    for name in ("student.onnx", "manifest.json"):
        assert (folder / name).read_bytes() == (undisturbed.parent / name).read_bytes()
    assert shards(folder) != shards(undisturbed.parent)


def started(command: list[str], folder: Path, environment: dict[str, str], file: str) -> subprocess.Popen[str]:
    """A process that has come so far that a file of its run exists."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zskd_onnx", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while not (folder / file).is_file():
        assert process.poll() is None, "the run ended before it was interrupted"
        time.sleep(0.01)
    return process


def test_a_process_that_is_killed_and_one_that_is_terminated(
    environment: dict[str, str], tmp_path: Path, digits_file: Path, undisturbed: Path
) -> None:
    folder = tmp_path / "out"
    command = ["compress", str(digits_file), "--output", str(folder), *OPTIONS]
    with started(command, folder, environment, "transfer-set/shard-00000000.safetensors") as process:
        process.kill()
    before = shards(folder)
    with started([*command, "--resume"], folder, environment, "checkpoint.pt") as process:
        process.terminate()
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (143, "")
    assert stderr.splitlines()[-1] == (
        "error: terminated; 900 samples and the state of training kept in "
        f"{folder}; to continue: zskd-onnx compress --resume --output {folder}"
    )
    assert "Traceback" not in stderr
    assert before.items() <= shards(folder).items()
    assert not list(folder.rglob(".*"))
    result = compress(None, folder, resume=True)
    assert result.student.read_bytes() == undisturbed.read_bytes()
