"""The commands that list, show and copy recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_process import HELP
from tests.conftest import Cli


def test_recipes(cli: Cli, tmp_path: Path) -> None:
    listed = json.loads(cli("recipes", "list", "--format", "json").stdout)
    assert "zskd" in [r["name"] for r in listed["recipes"]]
    [marked] = [line for line in cli("recipes", "list").stdout.splitlines() if "(the default)" in line]
    assert marked.split()[0] == listed["default"] == "best"
    shown = cli("recipes", "show", "zskd").stdout
    assert cli("recipes", "copy", "zskd").stdout == "zskd.yaml\n"
    assert (tmp_path / "zskd.yaml").read_text() == shown
    again = cli("recipes", "copy", "zskd")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    nowhere = cli("recipes", "copy", "zskd", "none/zskd.yaml")
    assert (nowhere.returncode, "in a folder that there is" in nowhere.stderr) == (2, True)


@pytest.mark.parametrize(
    "given", [["recipes", "list"], ["recipes", "show", "best"], ["compress", "none.onnx"]], ids=" ".join
)
def test_what_needs_no_torch_loads_none(given: list[str], environment: dict[str, str]) -> None:
    light = HELP.replace('+ ["--help"]', "")
    done = subprocess.run([sys.executable, "-c", light, *given], capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines()[-1] == "heavy: []"
