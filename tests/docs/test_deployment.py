"""The examples of the page on deployment run."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from zskd_onnx import CompressionResult
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session, run

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The only block of a language on the page."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def shell(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which ``zskd-onnx`` is the command of this installation."""
    return {**environment, "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])}


@pytest.fixture
def folder(tmp_path: Path, digits_file: Path) -> Path:
    shutil.copy(digits_file, tmp_path / "teacher.onnx")
    x, y = held_out_digits()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    recipe = {
        "name": "short",
        "summary": "A test.",
        "procedural": {"level_lines": 0.5, "pen_strokes": 0.5},
        "distillation": {"epochs": 1, "epoch_samples": 20_000},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_the_step_of_a_pipeline(folder: Path, shell: dict[str, str]) -> None:
    done = subprocess.run(["bash", "-e", "-c", block("bash")], cwd=folder, env=shell, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("result.json", "verification.json"):
        gates = {gate["gate"]: gate["passed"] for gate in json.loads((folder / name).read_text())["gates"]}
        assert gates["max_accuracy_drop"] is True
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["distillation"]["epoch_samples"] = 640  # no student can reach the gate that follows
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    strict = block("bash").replace("0.02", "-0.5")
    failed = subprocess.run(["bash", "-e", "-c", strict.replace("-o out", "-o strict")], cwd=folder, env=shell)
    assert failed.returncode == 5
    assert (folder / "strict" / "student.onnx").is_file()


def test_the_workflow_runs_the_same_commands() -> None:
    steps = yaml.safe_load(block("yaml"))["jobs"]["compress"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands[0] == "pip install zskd-onnx"
    assert commands[1].split() == block("bash").split()


def test_the_service_takes_either_model(
    folder: Path, finished: CompressionResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = held_out_digits()
    body = json.dumps(x[:5].tolist()).encode()
    for model in (folder / "teacher.onnx", finished.student):
        monkeypatch.setenv("MODEL", str(model))
        service: dict[str, Any] = {"__name__": "serve"}
        exec(compile(block("python"), "serve.py", "exec"), service)
        statuses: list[str] = []
        application: Callable[..., list[bytes]] = service["application"]
        request = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        (answer,) = application(request, lambda status, headers, statuses=statuses: statuses.append(status))
        assert statuses == ["200 OK"]
        assert json.loads(answer)["classes"] == run(open_session(model), x[:5])[0].argmax(1).tolist()


def test_javascript(folder: Path, finished: CompressionResult) -> None:
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('onnxruntime-node')"], capture_output=True).returncode:
        pytest.skip("Node with onnxruntime-node is not installed, or NODE_PATH does not name its folder")
    (folder / "classify.js").write_text(block("javascript"))
    x, _ = held_out_digits()
    call = (
        "require('./classify.js').classify(process.argv[1], JSON.parse(process.argv[2]))"
        ".then((answer) => console.log(answer))"
    )
    values = json.dumps(x[0].reshape(-1).tolist())
    done = subprocess.run(
        [node, "-e", call, str(finished.student), values], cwd=folder, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == run(open_session(finished.student), x[:1])[0].argmax(1)[0]


def test_the_container_has_the_torch_of_the_package() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [entry for entry in dependencies if entry.startswith("torch")]
    assert f"'{torch}'" in (ROOT / "Dockerfile").read_text()
