"""Bad input: one line that names the file, the node or the key, an exit code, and no trace on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.conftest import Cli, SaveModel


class Bad:
    """What the functions that make bad input need."""

    def __init__(self, folder: Path, digits: Path, model: SaveModel) -> None:
        self.folder = folder
        self.digits = digits
        self.model = model


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


def options(*words: str) -> Callable[[Bad], list[str | Path]]:
    return lambda make: [make.digits, *words]


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
    "a folder that is not empty": (full_folder, 2, ["taken", "--overwrite"]),
    "no numbers": (options("--mean", "a,b"), 2, ["--mean", "a,b"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(run: Cli, tmp_path: Path, digits_file: Path, save_model: SaveModel, case: str) -> None:
    make, code, parts = BAD[case]
    arguments = make(Bad(tmp_path, digits_file, save_model))
    before = sorted(p for p in tmp_path.rglob("*"))
    done = run("compress", *arguments, "--format", "json")
    assert done.returncode == code, done.stderr
    *progress, line = done.stderr.splitlines()
    assert all(" teacher: loading " in text for text in progress), done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == code
    assert line == f"error: {error['message']}"
    for part in parts:
        assert part in line
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_an_error_as_text_says_nothing_on_stdout(run: Cli) -> None:
    done = run("inspect", "none.onnx")
    assert (done.returncode, done.stdout) == (2, "")
