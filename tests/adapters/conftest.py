"""Fixtures for the adapters, each with its environment and trained models, and a check of teacher files."""

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
    """One adapter with its environment and models.

    Attributes:
        name: name of the script without its suffix.
        python: interpreter of an environment with the script's dependencies.
        models: folder with the models from its training script.
        folder: folder for the file that it writes.
    """

    name: str
    python: Path
    models: Path
    folder: Path

    @property
    def output(self) -> Path:
        """The file that it writes."""
        return self.folder / "teacher.onnx"

    def run(self, model: str, *options: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the script on one of the models."""
        script = ADAPTERS / f"{self.name}.py"
        return run(self.python, script, self.models / model, self.output, *options, cwd=cwd)

    def write(self, model: str, *options: object, cwd: Path | None = None) -> dict[str, Any]:
        """Run the script, which must succeed, and return its JSON."""
        finished = self.run(model, "--format", "json", *options, cwd=cwd)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr == ""
        assert [path.name for path in self.folder.iterdir()] == ["teacher.onnx"]
        return json.loads(finished.stdout)

    def refuse(self, code: int, model: str, *options: object) -> str:
        """Run the script, which must fail with an exit code, and return its error line."""
        finished = self.run(model, *options)
        assert (finished.returncode, finished.stdout) == (code, ""), finished.stderr
        assert list(self.folder.iterdir()) == []
        (line,) = finished.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    def facts(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of a model: held-out x and y, the framework's scores for x, weight and bias of its last layer."""
        with np.load(self.models / f"{name}.npz") as file:
            return dict(file)


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    variable = os.environ.get("ZSKD_ADAPTER_ENVS")
    environments = Path(variable) if variable else tmp_path_factory.mktemp("environments")
    models = tmp_path_factory.mktemp("models")
    ready: dict[str, tuple[Path, Path]] = {}

    def trained(name: str) -> tuple[Path, Path]:
        if name not in ready:
            python = python_for(name, environments)
            ready[name] = (python, train(name, python, models / name))
        return ready[name]

    return trained


@pytest.fixture
def adapter(request: pytest.FixtureRequest, _trained: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> Adapter:
    """The adapter of a test module: keras.py for test_keras.py."""
    name = request.module.__name__.rpartition(".test_")[2]
    python, models = _trained(name)
    folder = tmp_path / "out"
    folder.mkdir()
    return Adapter(name, python, models, folder)


class Touches:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def metadata(path: Path) -> dict[str, str]:
    """Metadata of an ONNX file."""
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def outputs(path: Path, x: np.ndarray) -> list[Any]:
    """Outputs of a file in onnxruntime, after a check that its batch size is free."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    assert not isinstance(value.shape[0], int)
    single = session.run(None, {value.name: x[:1]})
    assert len(single[-1]) == 1
    return session.run(None, {value.name: x})


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def check_teacher(path: Path, facts: dict[str, np.ndarray], classes: int) -> Teacher:
    """Check that the package loads a file, predicts the framework's classes, and finds the final layer."""
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
    if len(expected) == 1:  # two classes share one score, their log-odds
        weight = weight[1:] - weight[:1]
    np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    return teacher
