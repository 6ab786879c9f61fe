"""One run on several processes: started by torchrun, or as the same command several times."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, SMALL_OPTIONS
from tests.distillation import shared_training
from zskd_onnx import CompressionResult, synthesize
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.system.ranks import Ranks, ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def together(words: list[str | Path], environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """A program on two processes."""
    command = [*TORCHRUN, *options, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300, check=False)


def test_two_processes_make_the_transfer_set_and_the_student_of_one(
    finished: CompressionResult, digits_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The samples are the same to the byte. Sums of gradients are rounded elsewhere, so the student is the same nearly."""
    out = tmp_path / "out"
    command = ["-m", "zskd_onnx", "compress", digits_file, "-o", out, *SMALL_OPTIONS, "--format", "json"]
    done = together(command, environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["student"] == str(out / "student.onnx")  # one result, of rank 0
    assert "2 processes share synthesis and training" in done.stderr
    assert shards(out / "transfer-set") == shards(finished.student.parent / "transfer-set")
    x = held_out_digits()[0]
    one, two = (run(open_session(path), x)[0].argmax(1) for path in (finished.student, out / "student.onnx"))
    assert (one == two).mean() > 0.97
    again = together([*command, "--resume"], environment)
    assert json.loads(again.stdout) == json.loads(done.stdout)


def test_the_command_for_several_machines(
    finished: CompressionResult, digits_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Two agents of torchrun meet at an address, as those of two machines do."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", address]
    words += ["-m", "zskd_onnx", "compress", str(digits_file), "-o", str(tmp_path / "out"), *SMALL_OPTIONS]
    agents = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT) for _ in range(2)]
    for agent in agents:
        with agent:
            _, stderr = agent.communicate(timeout=300)
        assert agent.returncode == 0, stderr
    assert shards(tmp_path / "out" / "transfer-set") == shards(finished.student.parent / "transfer-set")
    assert (tmp_path / "out" / "student.onnx").is_file()


def test_gradients_and_normalisation_are_those_of_the_whole_batch(
    digits_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    done = together(["-m", "tests.distillation.shared_training", path, digits_file], environment)
    assert done.returncode == 0, done.stderr
    for generated, two in zip((False, True), torch.load(path), strict=True):
        one = shared_training.trained(str(digits_file), generated=generated).state_dict()
        assert two.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name].float(), value.float(), rtol=1e-3, atol=1e-4)


SYNTHESIS = ("synthesis.iterations=30", "synthesis.batch_size=50", "held_out=100")


def synthesis(digits_file: Path, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    settings = [part for setting in SYNTHESIS for part in ("--set", setting)]
    command = [sys.executable, "-m", "zskd_onnx", "synthesize", digits_file, "-o", folder, "--count", "1500", *settings]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_commands_that_share_a_folder_share_the_work(
    digits_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each ends when the set is complete. One that is killed leaves its part to the other."""
    synthesize(digits_file, tmp_path / "alone", count=1500, overrides=SYNTHESIS)
    folder = tmp_path / "shared"
    processes = [synthesis(digits_file, folder, environment) for _ in range(3)]
    while not shards(folder):
        time.sleep(0.02)
    processes[0].send_signal(signal.SIGKILL)
    for process in processes:
        with process:
            _, stderr = process.communicate(timeout=300)
        assert process.returncode == (-signal.SIGKILL if process is processes[0] else 0), stderr
    assert shards(folder) == shards(tmp_path / "alone")
    assert (folder / "samples.npz").read_bytes() == (tmp_path / "alone" / "samples.npz").read_bytes()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks()),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "TORCHELASTIC_RESTART_COUNT": "3"}, Ranks(1, 2, 1, 3)),
        ({"RANK": "x", "WORLD_SIZE": "2"}, Ranks()),
        ({"RANK": "5", "WORLD_SIZE": "2"}, Ranks()),
    ],
)
def test_the_place_of_a_process(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: Ranks) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks() == expected
