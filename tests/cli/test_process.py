"""What takes a process: the checkout's script, streams, a full disk, a reader that goes away, Ctrl-C."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL_OPTIONS, Cli, file_size_limit
from zskd_onnx import __version__


def test_a_checkout_runs_without_installation(environment: dict[str, str], tmp_path: Path) -> None:
    bare = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "--version"],
        capture_output=True,
        text=True,
        env=bare,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.strip() == __version__


def test_no_arguments_print_help(cli: Cli) -> None:
    done = cli()
    assert (done.returncode, done.stderr) == (0, "")
    assert "Commands:" in done.stdout


def test_an_error_has_its_own_stream(cli: Cli) -> None:
    done = cli("compress", "none.onnx", "--format", "json")
    assert done.returncode == 2
    assert done.stderr == "error: none.onnx: no such file; expected an ONNX model\n"
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize("limit", [2_000, 7_000, 100_000], ids=["settings", "transfer set", "student"])
def test_a_full_disk(cli: Cli, run: Cli, tmp_path: Path, digits_file: Path, limit: int) -> None:
    """No file may grow beyond a limit, so writing fails as it does on a full disk; one case takes a process."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    settings = ["--set", "synthesis.count=100", "--set", "synthesis.batch_size=50", "--set", "held_out=100"]
    if limit == 100_000:
        settings += ["--set", "synthesis.batch_size=10"]
    words = ("compress", digits_file, "-o", "out", *SMALL_OPTIONS, *settings, "--format", "json")
    if limit == 7_000:
        done = cli(*words, preexec_fn=restrict)
    else:
        with file_size_limit(limit):
            done = run(*words)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    file = {2_000: "run.json", 7_000: "transfer-set/shard-00000000.safetensors", 100_000: "checkpoint.pt"}[limit]
    assert last.startswith(f"error: out/{file}: File too large")
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 1
    assert not list(tmp_path.rglob("*.partial"))
    if limit == 2_000:
        assert list(tmp_path.iterdir()) == []
    else:
        assert last.endswith("to continue: zskd-onnx compress --resume --output out")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away(environment: dict[str, str], stream: str) -> None:
    """``zskd-onnx recipes list | head -1`` is no error, and the command does its work to the end."""
    words = ["recipes", "list"] if stream == "stdout" else ["recipes", "show", "nothing"]
    program = subprocess.Popen(
        [sys.executable, "-m", "zskd_onnx", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    closed, other = (program.stdout, program.stderr) if stream == "stdout" else (program.stderr, program.stdout)
    assert closed is not None
    assert other is not None
    closed.close()
    assert other.read() == b""
    other.close()
    assert program.wait(60) == (0 if stream == "stdout" else 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_result_that_cannot_be_written(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "zskd_onnx", "recipes", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_an_interrupt(environment: dict[str, str], digits_file: Path, tmp_path: Path) -> None:
    settings = [
        f"--set={key}" for key in ("synthesis.count=50000", "synthesis.batch_size=50", "synthesis.iterations=5")
    ]
    program = subprocess.Popen(
        [sys.executable, "-m", "zskd_onnx", "compress", str(digits_file), *settings, "--verbose", "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
        text=True,
    )
    assert program.stderr is not None
    lines = []
    while not lines or " synthesis: " not in lines[-1]:
        lines.append(program.stderr.readline())
        assert lines[-1], lines
    time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=120)
    assert program.returncode == 130
    last = errors.splitlines()[-1]
    assert last.startswith("error: interrupted; ")
    assert last.endswith("to continue: zskd-onnx compress --resume --output zskd-out")
    assert json.loads(output)["error"]["type"] == "Interrupted"
