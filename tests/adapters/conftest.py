"""The adapters, each with its environment and its trained models, and what every teacher file has to fulfil."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.adapters.environments import ADAPTERS, python_for, run, train
from zskd_onnx import load_teacher
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Adapter:
    """One script with what it needs.

    Attributes:
        name: of the script.
        python: with the script's dependencies.
        models: what its training script wrote.
        folder: where files are written.
    """

    name: str
    python: Path
    models: Path
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "teacher.onnx"

    def run(self, model: str, *options: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run it on one of the models."""
        script = ADAPTERS / f"{self.name}.py"
        return run(self.python, script, self.models / model, self.output, *options, cwd=cwd)

    def write(self, model: str, *options: object, cwd: Path | None = None) -> dict[str, Any]:
        """Run it where it has to succeed; what it printed as JSON."""
        finished = self.run(model, "--format", "json", *options, cwd=cwd)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr == ""
        assert [path.name for path in self.folder.iterdir()] == ["teacher.onnx"]
        return json.loads(finished.stdout)

    def refuse(self, code: int, model: str, *options: object) -> str:
        """Run it where it has to fail; its one line."""
        finished = self.run(model, *options)
        assert (finished.returncode, finished.stdout) == (code, ""), finished.stderr
        assert list(self.folder.iterdir()) == []
        (line,) = finished.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    def facts(self, name: str) -> dict[str, np.ndarray]:
        """Held-out digits x and y, the framework's scores for x, weight and bias of its last layer."""
        with np.load(self.models / f"{name}.npz") as file:
            return dict(file)


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    kept = os.environ.get("ZSKD_ADAPTER_ENVS")
    environments = Path(kept) if kept else tmp_path_factory.mktemp("environments")
    models = tmp_path_factory.mktemp("models")
    found: dict[str, tuple[Path, Path]] = {}

    def trained(name: str) -> tuple[Path, Path]:
        if name not in found:
            python = python_for(name, environments)
            found[name] = (python, train(name, python, models / name))
        return found[name]

    return trained


@pytest.fixture
def adapter(request: pytest.FixtureRequest, _trained: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> Adapter:
    """The adapter that a test module is about: test_keras.py is about keras.py."""
    name = request.module.__name__.rpartition(".test_")[2]
    python, models = _trained(name)
    folder = tmp_path / "out"
    folder.mkdir()
    return Adapter(name, python, models, folder)


class Touches:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def outputs(path: Path, x: np.ndarray) -> list[Any]:
    """What onnxruntime gives, the batch being free."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    assert not isinstance(value.shape[0], int)
    single = session.run(None, {value.name: x[:1]})
    assert len(single[-1]) == 1
    return session.run(None, {value.name: x})


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def check_teacher(path: Path, facts: dict[str, np.ndarray], classes: int) -> Teacher:
    """The package reads the file, answers as the framework does, and finds its final layer."""
    import torch

    teacher = load_teacher(path)
    assert teacher.classes == classes
    with torch.no_grad():
        logits = teacher.logits(torch.from_numpy(facts["x"])).numpy()
    assert logits.shape == (len(facts["x"]), classes)
    scores = facts["scores"]
    predicted = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0.5).astype(int)
    assert np.array_equal(logits.argmax(1), predicted)
    assert teacher.head is not None
    weight, expected = teacher.head.weight.numpy(), facts["weight"]
    assert weight.shape == (classes, expected.shape[1])
    if len(expected) == 1:  # the log-odds of two classes
        weight = weight[1:] - weight[:1]
    np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    return teacher
