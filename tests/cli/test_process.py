"""The command line as a user meets it: a process, its exit code, its two streams, what it leaves."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.conftest import ROOT, SMALL, SMALL_OPTIONS, Cli, Exports, SaveModel
from zskd_onnx import CompressionResult, compress

COMMANDS = ([], *([c] for c in ("compress", "inspect", "verify", "evaluate", "sweep", "demo", "doctor")))
RECIPES = (["recipes"], ["recipes", "list"], ["recipes", "show"], ["recipes", "copy"])
STUDENTS = (["students"], ["students", "list"])


@pytest.fixture(scope="module")
def finished(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    return compress(digits_file, tmp_path_factory.mktemp("finished") / "out", overrides=SMALL)


# Help


HELP = """
import sys, time
from zskd_onnx.cli.app import app
try:
    app(sys.argv[1:] + ["--help"])
except SystemExit:
    pass
heavy = {"torch", "onnx", "onnxruntime", "onnx_ir", "numpy"} & set(sys.modules)
print("heavy:", sorted(heavy), file=sys.stderr)
"""


def processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", [*COMMANDS, *RECIPES, *STUDENTS], ids=" ".join)
def test_help_is_light_and_quick(command: list[str], environment: dict[str, str]) -> None:
    """Processor time, best of three: what else the computer does is not the program's fault."""
    times = []
    for _ in range(3):
        begin = processor_seconds()
        done = subprocess.run(
            [sys.executable, "-c", HELP, *command], capture_output=True, text=True, env=environment, check=True
        )
        times.append(processor_seconds() - begin)
        assert "Usage" in done.stdout
        assert done.stderr.strip() == "heavy: []"
        if min(times) < 0.5:
            return
    pytest.fail(f"--help took {min(times):.2f} s at best")


def test_help_tells_the_exit_codes(cli: Cli) -> None:
    text = " ".join(cli("compress", "--help").stdout.split())
    for code in ("0 ok", "2 usage", "3 teacher unsupported", "4 parity", "5 quality gate", "130 interrupted"):
        assert code in text


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
    assert done.stdout.strip() == "0.1.0"


# Bad input


def text_file(make: Bad) -> list[str | Path]:
    path = make.folder / "text.onnx"
    path.write_text("I am not a model.\n")
    return [path]


def truncated(make: Bad) -> list[str | Path]:
    path = make.folder / "cut.onnx"
    path.write_bytes(make.digits.read_bytes()[:-1000])
    return [path]


def regression(make: Bad) -> list[str | Path]:
    return [make.model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 1], {"w": torch.ones(4, 1)})]


def two_inputs(make: Bad) -> list[str | Path]:
    path = make.model([helper.make_node("Add", ["x", "z"], ["y"])], ["N", 4], ["N", 4])
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4]))
    onnx.save(model, path)
    return [path]


def not_numbers(make: Bad) -> list[str | Path]:
    w = torch.ones(4, 3)
    w[0, 0] = float("nan")
    return [make.model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 3], {"w": w})]


def unsupported(make: Bad) -> list[str | Path]:
    nodes = [helper.make_node("Det", ["x"], ["d"], name="odd"), helper.make_node("Strange", ["d"], ["y"], domain="me")]
    return [make.model(nodes, ["N", 4], ["N", 3])]


def escaping(make: Bad) -> list[str | Path]:
    (make.folder / "secret.bin").write_bytes(b"\0" * 48)
    (make.folder / "in").mkdir()
    [path] = regression(make)
    model = onnx.load(path)
    w = model.graph.initializer[0]
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    w.external_data.add(key="location", value="../secret.bin")
    inner = make.folder / "in" / "model.onnx"
    inner.write_bytes(model.SerializeToString())
    return [inner]


def huge(make: Bad) -> list[str | Path]:
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    return [make.model(nodes, ["N", 4], ["N", 4], {"n": torch.tensor([10**12])})]


def recipe(text: str) -> Callable[[Bad], list[str | Path]]:
    def write(make: Bad) -> list[str | Path]:
        path = make.folder / "mine.yaml"
        path.write_text(text)
        return [make.digits, "--recipe", path]

    return write


def full_folder(make: Bad) -> list[str | Path]:
    (make.folder / "taken").mkdir()
    (make.folder / "taken" / "notes.txt").write_text("mine")
    return [make.digits, "--output", make.folder / "taken"]


def options(*given: str) -> Callable[[Bad], list[str | Path]]:
    return lambda make: [make.digits, *given]


FAULTY_RECIPE = (
    "name: a\nsummary: b\nprior: {kind: dirichlet, betta: 1}\nsynthesis: {kind: impressions, countt: 3}\nx: 1\n"
)

BAD: dict[str, tuple[Callable[[Bad], list[str | Path]], int, list[str]]] = {
    "a missing file": (lambda make: ["none.onnx"], 2, ["none.onnx", "no such file"]),
    "a text file": (text_file, 3, ["text.onnx", "not an ONNX model"]),
    "a truncated file": (truncated, 3, ["cut.onnx"]),
    "a regression model": (regression, 3, ["not a classifier"]),
    "two inputs": (two_inputs, 3, ["2 inputs", "'x'", "'z'"]),
    "NaN weights": (not_numbers, 3, ["'w'", "NaN"]),
    "an unsupported operator": (unsupported, 3, ["'odd'", "Det", "opset 17", "me.Strange"]),
    "weights outside the folder": (escaping, 3, ["outside the model's folder"]),
    "a constant of 10^12 elements": (huge, 3, ["elements"]),
    "an unknown recipe": (options("--recipe", "zksd"), 2, ["did you mean 'zskd'"]),
    "unknown keys": (recipe(FAULTY_RECIPE), 2, ["prior.betta", "synthesis.countt", "x: unknown key"]),
    "a python tag": (recipe("name: !!python/object/apply:os.system ['touch pwned']\n"), 2, ["mine.yaml", "not YAML"]),
    "a bad type": (options("--set", "distillation.epochs=many"), 2, ["distillation.epochs"]),
    "code in a recipe": (options("--set", "student=mine.py:student"), 2, ["--student"]),
    "a folder that is taken": (full_folder, 2, ["taken", "--overwrite"]),
    "numbers that are none": (options("--mean", "a,b"), 2, ["--mean", "a,b"]),
}


class Bad:
    """What the makers of bad input need."""

    def __init__(self, folder: Path, digits: Path, model: SaveModel) -> None:
        self.folder = folder
        self.digits = digits
        self.model = model


ALSO_TESTED_WITHOUT_A_PROCESS = {
    "an unsupported operator",
    "weights outside the folder",
    "a constant of 10^12 elements",
    "a python tag",
    "code in a recipe",
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[pytest.mark.slow] if c in ALSO_TESTED_WITHOUT_A_PROCESS else []) for c in BAD],
)
def test_bad_input(cli: Cli, tmp_path: Path, digits_file: Path, save_model: SaveModel, case: str) -> None:
    make, code, parts = BAD[case]
    arguments = make(Bad(tmp_path, digits_file, save_model))
    before = sorted(p for p in tmp_path.rglob("*"))
    done = cli("compress", *arguments, "--format", "json")
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == code
    assert done.stderr == f"error: {error['message']}\n"
    for part in parts:
        assert part in done.stderr
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_an_error_as_text_says_nothing_on_stdout(cli: Cli) -> None:
    done = cli("inspect", "none.onnx")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("limit", [2_000, 25_000, 40_000], ids=["transfer set", "pictures", "student"])
def test_a_full_disk(cli: Cli, tmp_path: Path, digits_file: Path, limit: int) -> None:
    """No file may grow beyond a limit, so writing fails as it does on a full disk."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    settings = ["--set", "synthesis.count=100", "--set", "synthesis.batch_size=50", "--set", "held_out=100"]
    if limit == 25_000:
        settings += ["--set", "synthesis.batch_size=10"]
    done = cli("compress", digits_file, "-o", "out", *SMALL_OPTIONS, *settings, "--format", "json", preexec_fn=restrict)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "too large" in last.lower()
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 1
    assert list(tmp_path.iterdir()) == []


# Results


def test_a_dry_run_looks_at_the_transfer_set(cli: Cli, digits_file: Path) -> None:
    dry = ("compress", digits_file, "--dry-run", "--transfer-set")
    missing = cli(*dry, "nothing")
    assert missing.returncode == 2
    assert "nothing" in missing.stderr
    assert cli("compress", digits_file, "-o", "out", *SMALL_OPTIONS).returncode == 0
    done = cli(*dry, "out/transfer-set", *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "synthesis (estimate)" not in done.stdout
    assert "distillation (estimate)" in done.stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_a_dry_run_trains_and_writes_nothing(cli: Cli, tmp_path: Path, digits_file: Path, as_json: bool) -> None:
    done = cli("compress", digits_file, "--dry-run", "--set", "seed=5", *(["--format", "json"] if as_json else []))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    if as_json:
        plan = json.loads(done.stdout)["plan"]
        assert plan["recipe"]["seed"] == 5
        assert plan["estimate"]["synthesis"] > 0
        assert plan["estimate"]["distillation"] > 0
        assert plan["student"]["name"] == "cnn"
    else:
        assert "seed: 5" in done.stdout
        assert "0 to 16" in done.stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_a_dry_run_says_what_is_a_bound(cli: Cli, digits_file: Path, as_json: bool) -> None:
    done = cli(
        "compress", digits_file, "--dry-run", "-r", "class-impressions", *(["--format", "json"] if as_json else [])
    )
    assert done.returncode == 0, done.stderr
    if as_json:
        assert json.loads(done.stdout)["plan"]["estimate_at_most"] == ["synthesis"]
    else:
        estimates = {line.split()[0]: line for line in done.stdout.splitlines() if "(estimate)" in line}
        assert "at most" in estimates["synthesis"]
        assert "at most" not in estimates["distillation"]


def test_inspect(cli: Cli, digits_file: Path) -> None:
    facts = json.loads(cli("inspect", digits_file, "--format", "json").stdout)
    assert facts["classes"] == 10
    assert facts["head"]["weight"] == [10, 52]
    assert facts["input"]["low"] == [0.0]
    assert facts["input"]["high"] == [16.0]
    assert not facts["input"]["assumed"]
    assert facts["recipes"]["zskd"] == {"suits": True, "needs": {"head": True}, "why": ""}
    # 3x3 convolutions to 16 and 32 filters on 8x8, then 512 -> 52 -> 10.
    assert facts["multiply_adds"] == 64 * 9 * 16 + 64 * 9 * 16 * 32 + 512 * 52 + 52 * 10
    assert facts["parameters"] == sum(w.size for w in _weights(digits_file) if w.ndim)


def _weights(path: Path) -> list[np.ndarray]:
    arrays = [onnx.numpy_helper.to_array(w) for w in onnx.load(path).graph.initializer]
    return [a for a in arrays if a.dtype == np.float32]


def test_an_assumed_range_is_shown(cli: Cli, exports: Exports) -> None:
    text = cli("inspect", exports.path("lenet5", "17")).stdout
    assert "0 to 1" in text
    assert "--input-range" in text


def test_doctor(cli: Cli) -> None:
    facts = json.loads(cli("doctor", "--format", "json").stdout)
    assert facts["torch"] == torch.__version__
    assert "CPUExecutionProvider" in facts["onnxruntime providers"]


def test_verify(cli: Cli, finished: CompressionResult, digits_file: Path) -> None:
    folder = finished.student.parent
    done = cli("verify", folder, "--teacher", digits_file, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["digest"], found["interface"]) == ("matches", "fits")
    missed = cli("verify", folder, "--teacher", digits_file, "--min-agreement", "1")
    assert missed.returncode == 5
    assert "agreement" in missed.stderr.splitlines()[-1]


def test_verify_notices_a_changed_file(cli: Cli, finished: CompressionResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.student.parent, folder)
    model = onnx.load(folder / "student.onnx")
    model.doc_string = "touched"
    onnx.save(model, folder / "student.onnx")
    done = cli("verify", folder)
    assert done.returncode == 4
    assert "the file was changed" in done.stderr


def test_verify_notices_a_student_of_another_teacher(cli: Cli, finished: CompressionResult, exports: Exports) -> None:
    done = cli("verify", finished.student, "--teacher", exports.path("lenet5", "17"))
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1


def test_a_student_that_is_no_smaller_is_not_called_so(cli: Cli, digits_file: Path) -> None:
    done = cli("compress", digits_file, "-o", "out", "--student", "wrn-16-1", *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "more than the teacher has" in done.stdout
