"""The adapters without any framework installed: help, option errors, declared dependencies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.environments import ADAPTERS, metadata

SCRIPTS = sorted(ADAPTERS.glob("*.py"))
COMMON = "\n# From here to the end all adapters are identical"


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter without site packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_common_part_is_identical() -> None:
    assert len(SCRIPTS) == 4
    common = {script.read_text(encoding="utf-8").partition(COMMON)[2] for script in SCRIPTS}
    assert len(common) == 1
    assert common != {""}


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
        ("options", "text"),
        [
            (("--input-range", "255"), "--input-range"),
            (("--input-range", "1,-1"), "--input-range"),
            (("--mean", "grey"), "numbers separated by commas, got 'grey'"),
            (("--std", "0"), "--std"),
            (("--layout", "HW"), "--layout"),
        ],
    )
    def test_error_names_the_option(self, script: Path, tmp_path: Path, options: tuple[str, ...], text: str) -> None:
        model = tmp_path / "model"
        model.touch()
        required = ("--module", "a:b", "--input-shape", "1,1,1") if script.stem == "jax" else ()
        finished = run(script, model, tmp_path / "teacher.onnx", *required, *options)
        (line,) = finished.stderr.splitlines()
        assert (finished.returncode, finished.stdout) == (2, "")
        assert line.startswith("error: ")
        assert text in line

    def test_errors_of_paths(self, script: Path, tmp_path: Path) -> None:
        required = ("--module", "a:b", "--input-shape", "1,1,1") if script.stem == "jax" else ()
        missing = run(script, tmp_path / "model", tmp_path / "teacher.onnx", *required)
        assert (missing.returncode, "no such file" in missing.stderr) == (2, True)
        (tmp_path / "model").touch()
        swapped = run(script, tmp_path / "model", tmp_path / "teacher.keras", *required)
        assert (swapped.returncode, "ends in .onnx" in swapped.stderr) == (2, True)
