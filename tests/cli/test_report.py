"""``report`` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import Cli
from zskd_onnx import CompressionResult


def test_report(run: Cli, finished: CompressionResult, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    (folder / "report.html").unlink()
    done = run("report", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{Path('out') / 'report.html'}\n"
    assert (folder / "report.html").read_bytes() == (finished.student.parent / "report.html").read_bytes()
    content = json.loads(run("report", "out", "--format", "json").stdout)
    assert content == {"schema_version": 2, "report": str(Path("out") / "report.html")}


def test_folders_without_a_report(run: Cli, tmp_path: Path) -> None:
    for folder, words in (("nowhere", "no such folder; expected a folder with"), (".", "holds no finished run")):
        done = run("report", folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
