"""Fixtures of several test modules: networks, ONNX files, the command line."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor, nn
from typer.testing import CliRunner

from zskd_onnx import CompressionResult, compress
from zskd_onnx.cli.app import COLLECT_AFTER, app
from zskd_onnx.pipeline import estimate
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.teacher import Teacher

torch.set_num_threads(1)  # workers share the cores, and sums are rounded alike with and without them

ROOT = Path(__file__).resolve().parent.parent

SMALL = ("synthesis.count=300", "synthesis.iterations=5", "held_out=100", "distillation.epochs=2", "student=cnn")
"""Settings with which a whole run takes seconds; its student is poor."""

SMALL_OPTIONS = [part for setting in SMALL for part in ("--set", setting)]
"""The same as options of the command line."""


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, so that writing fails as it does on a full disk."""
    import resource  # here, because Windows has none

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class ResidualBlock(nn.Module):
    """Convolution, then normalisation (He et al. 2015)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()),
            *(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)),
        )
        plain = before == after and stride == 1
        self.skip = (
            nn.Identity()
            if plain
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class PreActivationBlock(nn.Module):
    """Normalisation, then convolution (Zagoruyko & Komodakis 2016), so that exporters fold nothing."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.skip = None if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        y = self.conv2(F.relu(self.second(self.conv1(h))))
        return y + (x if self.skip is None else self.skip(h))


class MeanOfPositions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _vgg() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2, 2)),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        *(nn.Linear(256, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)),
    )


def _resnet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(ResidualBlock(8, 8, 1), ResidualBlock(8, 16, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )


def _wrn() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 1, 1, bias=False), PreActivationBlock(8, 16, 1), PreActivationBlock(16, 16, 1)),
        *(PreActivationBlock(16, 32, 2), nn.BatchNorm2d(32), nn.ReLU(), MeanOfPositions(), nn.Linear(32, 10)),
    )


@dataclass(frozen=True)
class Network:
    """A classifier in torch, with which an import is compared.

    Attributes:
        module: in inference mode, with random weights and batch-normalisation statistics.
        shape: of one sample.
    """

    module: nn.Module
    shape: tuple[int, ...]

    @property
    def final(self) -> nn.Linear:
        """The final fully connected layer."""
        return [m for m in self.module.modules() if isinstance(m, nn.Linear)][-1]


def _network(name: str) -> Network:
    torch.manual_seed(0)
    module, shape = {
        "lenet5": lambda: (STUDENTS["lenet5"].build((1, 28, 28), 10), (1, 28, 28)),
        "alexnet": lambda: (STUDENTS["alexnet"].build((3, 32, 32), 10), (3, 32, 32)),
        "vgg": lambda: (_vgg(), (3, 16, 16)),
        "resnet": lambda: (_resnet(), (3, 16, 16)),
        "wrn": lambda: (_wrn(), (3, 16, 16)),
    }[name]()
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    return Network(module.eval(), shape)


@pytest.fixture(scope="session", autouse=True)
def exporter_reads_its_operators_once() -> Iterator[None]:
    """torch's exporter reads its 540 operators again for each export, which is half of an export's time.

    The files are the same, byte for byte.
    """
    from torch.onnx._internal.exporter._registration import ONNXRegistry  # here, because it imports onnxscript

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session", autouse=True)
def collector_skips_the_libraries(exporter_reads_its_operators_once: None) -> None:
    """Python's collector would go through the half million objects of imported libraries again and again, see ``main``."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


@dataclass
class Exports:
    """Networks as torch's exporters write them; each file is made when a test of the session first needs it."""

    folder: Path
    networks: dict[str, Network] = field(default_factory=dict)

    def network(self, name: str) -> Network:
        if name not in self.networks:
            self.networks[name] = _network(name)
        return self.networks[name]

    def path(self, name: str, exporter: str, ending: str = "logits", *, fixed: bool = False) -> Path:
        """An ONNX file.

        Args:
            name: "lenet5", "alexnet", "vgg", "resnet" or "wrn".
            exporter: "dynamo", or the legacy exporter's opset.
            ending: "logits", "softmax" or "log_softmax".
            fixed: whether the batch size is fixed at 1.
        """
        path = self.folder / f"{name}-{exporter}-{ending}-{'fixed' if fixed else 'free'}.onnx"
        if not path.exists():
            network = self.network(name)
            last = {"softmax": nn.Softmax(1), "log_softmax": nn.LogSoftmax(1), "logits": nn.Identity()}[ending]
            module = nn.Sequential(network.module, last).eval()
            partial = path.with_name(f"{os.getpid()}-{path.name}")  # another worker may write the same file
            export(module, network.shape, partial, exporter, fixed=fixed)
            model = onnx.load(partial)
            # Random weights tell no range, and asking each of them would take a third of the suite's time.
            model.metadata_props.add(key="zskd.input_range", value="0,1")
            onnx.save(model, partial)
            partial.replace(path)
        return path


def export(module: nn.Module, shape: tuple[int, ...], path: Path, exporter: str, *, fixed: bool) -> None:
    """Write an ONNX file with one of torch's exporters; their warnings are ignored."""
    x = torch.zeros(1 if fixed else 2, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            free = None if fixed else ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=free, verbose=False)
            assert program is not None
            program.save(path)
        else:
            torch.onnx.export(
                module,
                (x,),
                path,
                dynamo=False,
                opset_version=int(exporter),
                input_names=["input"],
                dynamic_axes=None if fixed else {"input": {0: "batch"}},
            )


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Exports in a folder that the workers share."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "exports"
    folder.mkdir(exist_ok=True)
    return Exports(folder)


@pytest.fixture(scope="session")
def digits_file() -> Path:
    """The teacher that ships with the package."""
    with resources.as_file(resources.files("zskd_onnx.assets") / "digits_teacher.onnx") as path:
        return path


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled digits, x and y, which no model was trained on."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    x, y = held_out_digits()
    np.savez(path, x=x, y=y)
    return path


@pytest.fixture
def digits(digits_file: Path) -> Teacher:
    return load_teacher(digits_file)


@pytest.fixture(scope="session")
def finished(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    """A run that has ended, on the bundled teacher with the settings SMALL; tests read it and change nothing."""
    return compress(digits_file, tmp_path_factory.mktemp("finished") / "out", overrides=SMALL)


SaveModel = Callable[..., Path]


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """A function that writes a graph: (nodes, input shape, output shape, weights) to a path."""

    def save(
        nodes: list[onnx.NodeProto],
        input_shape: list[int | str] | None,
        output_shape: list[int | str] | None,
        weights: dict[str, Tensor] | None = None,
        *,
        input_type: int = onnx.TensorProto.FLOAT,
        opset: int = 17,
        metadata: dict[str, str] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", input_type, input_shape)],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, output_shape)],
            [onnx.numpy_helper.from_array(w.numpy(), key) for key, w in (weights or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        helper.set_model_props(model, metadata or {})
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return save


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of child processes: the package of this checkout, one thread."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path) -> Cli:
    """A function that runs the command line in a new folder, with an exit code and output as for a user."""

    def run(*arguments: str | Path, timeout: float = 120, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "zskd_onnx", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=timeout,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in this process and in an empty folder; the result is as a process would give it.

    It saves the seconds in which a process imports torch, and measures estimates for a shorter time.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "estimate", partial(estimate.estimate, seconds=0.2))

    def invoke(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        result = CliRunner().invoke(app, words, prog_name="zskd-onnx", env=environment)
        return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    """Real digits (450, 1, 8, 8) in the unit space, float16, in place of impressions."""
    x, _ = held_out_digits()
    return torch.from_numpy(x / 16).half().contiguous(memory_format=torch.channels_last)
