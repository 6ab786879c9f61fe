"""What ``quantize`` prints, its exit codes, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.conftest import Cli, SaveModel


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_the_table(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    done = run("quantize", digits_file, "-o", tmp_path / "int8.onnx", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.split("  ")[0] for line in lines(done.stdout)]
    assert names == ["model", "file size", "weights", "agreement", "samples", "latency"]
    size = (tmp_path / "int8.onnx").stat().st_size
    assert f"{digits_file.stat().st_size:,} -> {size:,} bytes" in done.stdout
    verified = run("verify", tmp_path / "int8.onnx", "--teacher", digits_file)
    assert verified.returncode == 0, verified.stderr


def test_json_and_the_default_name(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    model = tmp_path / "digits.onnx"
    model.write_bytes(digits_file.read_bytes())
    done = run("quantize", model, "--to", "fp16", "--format", "json", "-q")
    content = json.loads(done.stdout)
    assert content["quantized"]["path"] == str(tmp_path / "digits-fp16.onnx")
    assert content["quantized"]["bytes"] == (tmp_path / "digits-fp16.onnx").stat().st_size
    assert list(content["quantized"]["weights"]) == ["float16"]
    assert content["agreement"] == 1


def test_a_missed_gate_prints_the_figures_and_ends_with_5(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    """Two samples are far too few to be confident of one."""
    np.savez(tmp_path / "grey.npz", x=np.full((2, 1, 8, 8), [[[[0.1]]], [[[0.2]]]], np.float32))
    done = run(
        *("quantize", digits_file, "-o", tmp_path / "int8.onnx", "-q"),
        *("--data", tmp_path / "grey.npz", "--min-agreement", "0.5"),
    )
    assert done.returncode == 5
    assert "file size" in done.stdout
    assert len(lines(done.stderr)) == 1
    assert "agreement with the float file unknown, expected 0.5 or more" in done.stderr
    assert (tmp_path / "int8.onnx").is_file()


def test_bad_input_is_one_line_and_leaves_no_file(
    run: Cli, digits_file: Path, save_model: SaveModel, tmp_path: Path
) -> None:
    output = tmp_path / "new.onnx"
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(digits_file.read_bytes()[:-1000])
    pooled = save_model(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        ["N", 3, 8, 8],
        ["N", 3],
        name="pooled.onnx",
    )
    int8 = tmp_path / "int8.onnx"
    assert run("quantize", digits_file, "-o", int8, "-q").returncode == 0
    for arguments, code, text in (
        ([cut], 3, "cut.onnx: not an ONNX model, or a truncated one"),
        ([pooled, "--input-range", "0,1"], 3, "pooled.onnx: "),
        ([int8], 3, "int8.onnx: node"),
        ([tmp_path / "none.onnx"], 2, "none.onnx: no such file"),
        ([digits_file, "--to", "int4"], 2, "'int4': expected int8 or fp16"),
        ([digits_file, "--min-agreement", "2"], 2, "expected a number from 0 to 1"),
        ([digits_file, "--data", "x.npz", "--transfer-set", str(tmp_path)], 2, "exclude each other"),
        ([digits_file, "--transfer-set", str(tmp_path)], 2, "no transfer set"),
    ):
        done = run("quantize", *arguments, "-o", output, "-q")
        assert done.returncode == code, done.stderr
        assert len(lines(done.stderr)) == 1
        assert text in done.stderr
        assert not output.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("place", ["itself", "nowhere"])
def test_an_output_that_cannot_be_written(run: Cli, digits_file: Path, tmp_path: Path, place: str) -> None:
    output = digits_file if place == "itself" else tmp_path / "none" / "int8.onnx"
    before = digits_file.read_bytes()
    done = run("quantize", digits_file, "-o", output, "-q")
    assert done.returncode == 2
    assert len(lines(done.stderr)) == 1
    assert digits_file.read_bytes() == before


def test_compress_passes_the_option_on(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    done = run("compress", digits_file, "--quantize", "int8", "--dry-run", "--output", tmp_path / "out", "-q")
    assert done.returncode == 0, done.stderr
    assert "quantize: int8" in done.stdout
    wrong = run("compress", digits_file, "--quantize", "int4", "--output", tmp_path / "out")
    assert wrong.returncode == 2
    assert "'int4': expected int8 or fp16" in wrong.stderr


def test_the_model_passes_the_checker(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    for form in ("int8", "fp16"):
        run("quantize", digits_file, "--to", form, "-o", tmp_path / "new.onnx", "-q")
        onnx.checker.check_model(tmp_path / "new.onnx", full_check=True)
