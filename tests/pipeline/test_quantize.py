"""``quantize`` and ``compress`` with a quantised student, on the bundled digits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from tests.conftest import SMALL, SaveModel
from tests.pipeline.drop_in_teachers import FIXED, half_precision, label_first, two_inputs
from zskd_onnx import (
    CompressionResult,
    QualityError,
    Quantization,
    UnsupportedTeacherError,
    UsageError,
    compress,
    load_teacher,
    quantize,
    verify,
)
from zskd_onnx.events import silent
from zskd_onnx.pipeline.quantization_samples import make_samples, real_samples, stored_samples

INT8 = ("deployment.quantize=int8",)


@pytest.fixture(scope="module")
def test_set() -> Path:
    with resources.as_file(resources.files("zskd_onnx.assets") / "digits_test.npz") as path:
        return path


@pytest.fixture(scope="module")
def result(digits_file: Path, test_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantization:
    return quantize(digits_file, tmp_path_factory.mktemp("quantized") / "int8.onnx", eval_data=test_set)


@pytest.fixture(scope="module")
def run(digits_file: Path, test_set: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    folder = tmp_path_factory.mktemp("run") / "out"
    overrides = (*SMALL, "distillation.epochs=20", *INT8)
    return compress(digits_file, folder, overrides=overrides, eval_data=test_set)


def predictions(path: Path, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path))
    return session.run(None, {session.get_inputs()[0].name: x})[0].argmax(1)


def test_figures_are_those_of_the_files(result: Quantization, digits_file: Path, test_set: Path) -> None:
    path = Path(result.quantized_file.path)
    assert result.float_file.bytes == digits_file.stat().st_size
    assert result.quantized_file.bytes == path.stat().st_size < 0.3 * result.float_file.bytes
    counts = {"int8": 0, "float32": 0}
    for tensor in onnx.load(path).graph.initializer:
        if tensor.dims:
            name = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.FLOAT: "float32"}.get(tensor.data_type)
            if name is not None:
                counts[name] += int(np.prod(tensor.dims))
    assert result.quantized_file.weights == counts
    assert result.accuracy is not None
    with np.load(test_set) as arrays:
        x, y = arrays["x"].astype(np.float32), arrays["y"]
    before, after = (predictions(Path(file), x) for file in (digits_file, path))
    assert result.accuracy.teacher == pytest.approx(np.mean(before == y))
    assert result.accuracy.student == pytest.approx(np.mean(after == y))
    assert result.accuracy.student > result.accuracy.teacher - 0.01


def test_it_is_judged_where_the_float_file_is_confident(result: Quantization, digits_file: Path) -> None:
    teacher = load_teacher(digits_file)
    samples = make_samples(teacher, 0, torch.device("cpu"), lambda event: None)
    x = 16 * samples.held_out.float().numpy()
    session = ort.InferenceSession(str(digits_file))
    logits = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x})[0])
    confident = (logits.softmax(1).amax(1) >= 0.9).numpy()
    same = predictions(Path(result.quantized_file.path), x) == logits.argmax(1).numpy()
    assert (result.judged, result.confident) == (len(x), confident.sum())
    assert 100 < result.confident < result.judged
    assert result.agreement == pytest.approx(np.mean(same[confident]))


def test_samples_that_judge_are_not_those_that_calibrate(digits_file: Path) -> None:
    teacher = load_teacher(digits_file)
    samples = make_samples(teacher, 0, torch.device("cpu"), lambda event: None)
    assert samples.calibration.shape == (512, 1, 8, 8)
    assert samples.held_out.shape == (1024, 1, 8, 8)
    calibration, held_out = (
        {part.numpy().tobytes() for part in parts} for parts in (samples.calibration, samples.held_out)
    )
    assert len(held_out) > 1000
    assert not any(part.strip(b"\0") for part in calibration & held_out)  # an image may be empty


def test_the_same_seed_gives_the_same_bytes(result: Quantization, digits_file: Path, tmp_path: Path) -> None:
    same, other = (quantize(digits_file, tmp_path / f"{seed}.onnx", seed=seed).quantized_file for seed in (0, 1))
    assert same.sha256 == result.quantized_file.sha256
    assert other.sha256 != same.sha256


def test_metadata_stay(result: Quantization, digits_file: Path) -> None:
    before, after = (
        {entry.key: entry.value for entry in onnx.load(file).metadata_props}
        for file in (digits_file, Path(result.quantized_file.path))
    )
    assert before.items() <= after.items()
    assert (after["zskd.quantized"], after["zskd.float_sha256"]) == ("int8", result.float_file.sha256)


def test_half_precision(digits_file: Path, tmp_path: Path) -> None:
    result = quantize(digits_file, tmp_path / "fp16.onnx", to="fp16")
    assert set(result.quantized_file.weights) == {"float16"}
    assert 0.45 < result.quantized_file.bytes / result.float_file.bytes < 0.55
    assert result.agreement == 1


def test_vectors_and_a_second_input(tmp_path: Path) -> None:
    vectors = quantize(label_first(tmp_path / "vectors.onnx"), tmp_path / "vectors-int8.onnx")
    assert "zskd-uniform" in vectors.samples or "best" in vectors.samples
    path = two_inputs(tmp_path / "two.onnx")
    result = quantize(path, tmp_path / "two-int8.onnx", fix=FIXED["two_inputs"])
    assert [value.name for value in onnx.load(result.quantized_file.path).graph.input] == ["x", "gain"]


def test_a_missed_gate(digits_file: Path, tmp_path: Path) -> None:
    """Samples of one grey level say nothing of the ranges, and real ones of the digits would show it."""
    np.savez(
        tmp_path / "dark.npz",
        x=np.full((600, 1, 8, 8), 0.01, np.float32) * np.arange(1, 601)[:, None, None, None] / 600,
    )
    path = tmp_path / "int8.onnx"
    result = quantize(digits_file, path, data=tmp_path / "dark.npz", min_agreement=0.9)
    assert result.confident == 0
    assert result.agreement is None
    with pytest.raises(QualityError, match=r"int8\.onnx: agreement with the float file unknown, expected 0\.9"):
        result.check()
    assert "confident of 0 of the held-out samples" in result.notes[-1]
    assert path.is_file()


def test_samples_of_a_transfer_set_and_real_ones(
    digits_file: Path, test_set: Path, run: CompressionResult, tmp_path: Path
) -> None:
    teacher = load_teacher(digits_file)
    stored = stored_samples(run.student.parent / "transfer-set", teacher, silent)
    assert (len(stored.calibration), len(stored.held_out)) == (200, 200)
    assert len(real_samples(test_set, teacher, 0).calibration) == 225
    other = load_teacher(digits_file, input_range=(0, 1))
    with pytest.raises(UsageError, match=r"made for inputs with high \[16.0\], expected \[1.0\]"):
        stored_samples(run.student.parent / "transfer-set", other, silent)


def test_faulty_arguments(digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="to 'int4': expected int8 or fp16"):
        quantize(digits_file, tmp_path / "x.onnx", to="int4")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="would replace an input"):
        quantize(digits_file, digits_file)
    with pytest.raises(UsageError, match="parent folder does not exist"):
        quantize(digits_file, tmp_path / "none" / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_with_nothing_to_quantise_leaves_no_file(save_model: SaveModel, tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("GlobalAveragePool", ["x"], ["p"]), onnx.helper.make_node("Flatten", ["p"], ["y"])]
    path = save_model(nodes, ["N", 3, 8, 8], ["N", 3], metadata={"zskd.input_range": "0,1"})
    with pytest.raises(Exception, match=r"model.onnx: "):
        quantize(path, tmp_path / "int8.onnx", input_range=(0, 1))
    assert not (tmp_path / "int8.onnx").exists()


def test_a_run_writes_a_quantised_student(run: CompressionResult) -> None:
    folder, quantization = run.student.parent, run.quantization
    assert quantization is not None
    assert run.accuracy is not None
    assert quantization.accuracy is not None
    assert quantization.quantized_file.path == str(folder / "student-int8.onnx")
    assert quantization.accuracy.teacher == run.accuracy.student
    assert quantization.accuracy.student > run.accuracy.student - 0.02
    assert set(quantization.quantized_file.weights) == {"int8", "float32"}
    manifest = json.loads(run.manifest.read_text())
    digest = hashlib.sha256((folder / "student-int8.onnx").read_bytes()).hexdigest()
    assert manifest["quantization"]["quantized"]["sha256"] == digest
    assert verify(folder / "student-int8.onnx", isolate=False).digest == "matches"
    assert verify(folder, isolate=False).digest == "matches"


def test_a_finished_run_gives_its_quantised_student_again(run: CompressionResult) -> None:
    folder = run.student.parent
    again = compress(None, folder, resume=True)
    assert again.quantization == run.quantization
    with pytest.raises(UsageError, match="quantize"):
        compress(None, folder, resume=True, overrides=["deployment.quantize=fp16"])


def test_a_lost_quantised_student_is_made_again(run: CompressionResult) -> None:
    assert run.quantization is not None
    path = Path(run.quantization.quantized_file.path)
    content = path.read_bytes()
    path.unlink()
    compress(None, path.parent, resume=True)
    assert path.read_bytes() == content


def test_a_new_run_removes_the_quantised_student_of_the_old_one(digits_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    no_gate = "deployment.min_quantized_agreement=0"
    compress(digits_file, folder, overrides=(*SMALL, "deployment.quantize=fp16", no_gate))
    assert (folder / "student-fp16.onnx").is_file()
    compress(digits_file, folder, overrides=SMALL, overwrite=True)
    assert not (folder / "student-fp16.onnx").exists()


def test_a_student_in_half_precision_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    path = half_precision(tmp_path / "teacher.onnx")
    with pytest.raises(UnsupportedTeacherError, match=r"teacher\.onnx: weight 'w1' is in half precision"):
        compress(path, tmp_path / "out", student="thin:0.5", overrides=INT8)
    assert not (tmp_path / "out").exists()


def test_the_gate_of_a_run(run: CompressionResult) -> None:
    assert run.quantization is not None
    assert run.quantization.missed_gates == ()
    missed = replace(run, missed_gates=("agreement with the float file 0.5, expected 0.95 or more",))
    with pytest.raises(QualityError, match=r"expected 0\.95"):
        missed.check()
