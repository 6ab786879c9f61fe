"""What the adapters do without the frameworks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.environments import ADAPTERS, metadata

SCRIPTS = sorted(ADAPTERS.glob("*.py"))
COMMON = "\n# From here to the end all adapters are alike"


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Without any package at all."""
    return subprocess.run(
        [sys.executable, "-I", "-S", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_what_the_adapters_share_is_alike() -> None:
    assert len(SCRIPTS) == 4
    assert len({script.read_text(encoding="utf-8").partition(COMMON)[2] for script in SCRIPTS}) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
class TestAlone:
    def test_help_needs_no_framework(self, script: Path) -> None:
        finished = run(script, "--help")
        assert (finished.returncode, finished.stderr) == (0, "")
        assert f"uv run adapters/{script.name}" in finished.stdout

    def test_dependencies_are_declared(self, script: Path) -> None:
        declared = metadata(script)
        assert declared["requires-python"].startswith(">=3.11")
        assert all(">=" in dependency for dependency in declared["dependencies"])
        assert "zskd_onnx" not in script.read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (("--input-range", "255"), "--input-range"),
            (("--input-range", "1,-1"), "--input-range"),
            (("--mean", "grey"), "numbers with commas, got 'grey'"),
            (("--std", "0"), "--std"),
            (("--layout", "HW"), "--layout"),
        ],
    )
    def test_a_wrong_option_is_named(self, script: Path, tmp_path: Path, options: tuple[str, ...], named: str) -> None:
        model = tmp_path / "model"
        model.touch()
        needed = ("--module", "a:b", "--input-shape", "1,1,1") if script.stem == "jax" else ()
        finished = run(script, model, tmp_path / "teacher.onnx", *needed, *options)
        (line,) = finished.stderr.splitlines()
        assert (finished.returncode, finished.stdout) == (2, "")
        assert line.startswith("error: ")
        assert named in line

    def test_paths(self, script: Path, tmp_path: Path) -> None:
        needed = ("--module", "a:b", "--input-shape", "1,1,1") if script.stem == "jax" else ()
        missing = run(script, tmp_path / "model", tmp_path / "teacher.onnx", *needed)
        assert (missing.returncode, "no such file" in missing.stderr) == (2, True)
        (tmp_path / "model").touch()
        swapped = run(script, tmp_path / "model", tmp_path / "teacher.keras", *needed)
        assert (swapped.returncode, "ends in .onnx" in swapped.stderr) == (2, True)
