"""The manifest: inputs, versions, times, and files that can move with it."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.conftest import SMALL
from zskd_onnx import CompressionResult, compress, verify


@pytest.fixture(scope="module")
def run(
    digits_file: Path, finished: CompressionResult, digits_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> CompressionResult:
    """A run with real samples of both kinds, and the transfer set of another run."""
    return compress(
        digits_file,
        tmp_path_factory.mktemp("run") / "out",
        overrides=SMALL,
        data=digits_data,
        eval_data=digits_data,
        transfer_set=finished.student.parent / "transfer-set",
    )


def manifest_of(result: CompressionResult) -> dict[str, Any]:
    return json.loads(result.manifest.read_text())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_input_has_its_digest(
    run: CompressionResult, finished: CompressionResult, digits_file: Path, digits_data: Path
) -> None:
    inputs = manifest_of(run)["inputs"]
    transfer_set = finished.student.parent / "transfer-set"
    assert inputs == {
        "teacher": {"path": str(digits_file), "sha256": sha256(digits_file)},
        "data": {"path": str(digits_data), "sha256": sha256(digits_data)},
        "eval_data": {"path": str(digits_data), "sha256": sha256(digits_data)},
        "transfer_set": {"path": str(transfer_set), "sha256": sha256(transfer_set / "index.json")},
    }
    assert set(manifest_of(finished)["inputs"]) == {"teacher"}


def test_versions_and_times(finished: CompressionResult) -> None:
    manifest = manifest_of(finished)
    assert manifest["tool"]["onnx"] == metadata.version("onnx")
    assert manifest["tool"]["onnxruntime"] in {
        version
        for name in ("onnxruntime", "onnxruntime-gpu")
        if (version := next((d.version for d in metadata.distributions(name=name)), None))
    }
    started = datetime.fromisoformat(manifest["started"])
    assert timedelta() <= datetime.now(UTC) - started < timedelta(hours=1)
    assert sum(manifest["seconds"].values()) <= manifest["duration"] + 0.1 < 600
    assert manifest["resumed"] is False
    assert manifest["command"] == "Python"
    assert manifest["latency"]["teacher"]["median"] > 0
    assert manifest["latency"]["conditions"] == "CPU, 1 thread, batch 1"


def test_the_input_and_the_samples(run: CompressionResult, finished: CompressionResult) -> None:
    manifest = manifest_of(run)
    assert manifest["input"] == {
        "name": "image",
        "dtype": "float32",
        "layout": "NCHW",
        "layout_source": "file metadata",
        "shape": [1, 8, 8],
    }
    assert manifest["class_names"] is None
    assert manifest["held_out"] == {"kind": "synthesised samples", "samples": 100}
    assert manifest["evaluation_samples"] == 450
    assert manifest_of(finished)["evaluation_samples"] is None


def test_class_names_of_the_file(digits_file: Path, tmp_path: Path) -> None:
    model = onnx.load(digits_file)
    names = ["zero", *map(str, range(1, 10))]
    onnx.helper.set_model_props(model, {"zskd.input_range": "0,16", "zskd.classes": json.dumps(names)})
    onnx.save(model, tmp_path / "named.onnx")
    result = compress(tmp_path / "named.onnx", tmp_path / "out", overrides=SMALL)
    assert manifest_of(result)["class_names"] == names


def test_the_folder_can_move(finished: CompressionResult, tmp_path: Path) -> None:
    manifest = manifest_of(finished)
    assert manifest["student"] == manifest["sizes"]["student"]["path"] == "student.onnx"
    assert (manifest["manifest"], manifest["report"]) == ("manifest.json", "report.html")
    moved = finished.student.parent.rename(tmp_path / "moved")
    try:
        assert verify(moved, isolate=False).digest == "matches"
        assert compress(None, moved, resume=True).student_size.path == str(moved / "student.onnx")
    finally:
        moved.rename(finished.student.parent)


def test_the_students_file_says_where_it_comes_from(finished: CompressionResult, digits_file: Path) -> None:
    text = onnx.load(finished.student).doc_string
    assert "digits_teacher.onnx" in text
    assert sha256(digits_file)[:16] in text
    assert "the recipe best" in text
    assert f"{100 * finished.agreement:.2f} % of 100 held-out synthesised samples" in text


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_all_files_follow_the_umask(digits_file: Path, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        compress(digits_file, tmp_path / "out", overrides=SMALL)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"student.onnx", "report.html", "shard-00000000.safetensors", "run.json"}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {oct(0o666 & ~mask)}
