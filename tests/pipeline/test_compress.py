"""Whole runs on the bundled teacher, with settings that take seconds."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from tests.conftest import SMALL, Exports, SaveModel
from zskd_onnx import (
    CompressionResult,
    DomainWarning,
    QualityError,
    UnsupportedTeacherError,
    UsageError,
    compress,
    load_teacher,
    verify,
)
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event

FILES = {
    "student.onnx",
    "manifest.json",
    "report.html",
    "report.npz",
    "README.md",
    "recipe.yaml",
    "run.json",
    "events.jsonl",
    "metrics.csv",
    "impressions.png",
    "class_similarity.png",
    "transfer-set",
}


@pytest.fixture(scope="module")
def finished(digits_file: Path, digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    """A complete run; tests read it and change nothing."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    return compress(digits_file, folder, overrides=SMALL, eval_data=digits_data)


def weights(path: Path) -> dict[str, bytes]:
    return {w.name: w.raw_data for w in onnx.load(path).graph.initializer}


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_files_of_a_run(finished: CompressionResult) -> None:
    folder = finished.student.parent
    assert {p.name for p in folder.iterdir()} == FILES
    assert not list(folder.rglob("*.partial"))
    assert TransferSet.open(folder / "transfer-set").count == 400


def test_manifest(finished: CompressionResult, digits_file: Path) -> None:
    manifest = json.loads(finished.manifest.read_text())
    assert manifest["schema_version"] == 3
    assert manifest["student_sha256"] == hashlib.sha256(finished.student.read_bytes()).hexdigest()
    assert manifest["teacher_sha256"] == hashlib.sha256(digits_file.read_bytes()).hexdigest()
    assert manifest["seed"] == 0
    assert manifest["recipe"]["distillation"]["epochs"] == 2
    assert manifest["parity"]["max_abs_difference"] <= manifest["parity"]["tolerance"] < 1e-2
    assert set(manifest["seconds"]) == {"teacher", "synthesis", "distillation", "deployment"}
    assert manifest["sizes"]["student"]["bytes"] == finished.student.stat().st_size
    assert manifest["confident"] == {"share": finished.confident, "agreement": finished.confident_agreement}
    assert 0 < finished.confident < 1
    metadata = {p.key: p.value for p in onnx.load(finished.student).metadata_props}
    assert metadata["zskd.teacher_sha256"] == manifest["teacher_sha256"]
    assert metadata["zskd.seed"] == "0"
    assert metadata["zskd.recipe"] == "best"


def test_figures_against_onnxruntime(finished: CompressionResult, digits_file: Path, digits_data: Path) -> None:
    data = np.load(digits_data)
    teacher, student = (
        session(path).run(None, {"image": data["x"]})[0].argmax(1) for path in (digits_file, finished.student)
    )
    assert finished.accuracy is not None
    assert finished.accuracy.teacher == pytest.approx((teacher == data["y"]).mean())
    assert finished.accuracy.teacher > 0.97
    assert finished.accuracy.student == pytest.approx((student == data["y"]).mean())
    assert finished.accuracy.agreement == pytest.approx((student == teacher).mean())


def test_agreement_is_measured_on_held_out_samples(finished: CompressionResult, digits_file: Path) -> None:
    held_out = TransferSet.open(finished.student.parent / "transfer-set").load().inputs[:100].float().numpy() * 16
    teacher, student = (
        session(path).run(None, {"image": held_out})[0].argmax(1) for path in (digits_file, finished.student)
    )
    assert finished.agreement == pytest.approx((student == teacher).mean(), abs=0.011)


def test_student_fits_in_the_teachers_place(finished: CompressionResult, digits_file: Path) -> None:
    teacher, student = session(digits_file), session(finished.student)
    for of_student, of_teacher in zip(
        [*student.get_inputs(), *student.get_outputs()], [*teacher.get_inputs(), *teacher.get_outputs()], strict=True
    ):
        assert (of_student.name, of_student.type) == (of_teacher.name, of_teacher.type)
        assert of_student.shape[1:] == of_teacher.shape[1:]
        assert isinstance(of_student.shape[0], str)
    for size in (1, 3, 64):
        assert student.run(None, {"image": np.zeros((size, 1, 8, 8), np.float32)})[0].shape == (size, 10)
    onnx.checker.check_model(onnx.load(finished.student), full_check=True)
    assert finished.student_size.parameters < finished.teacher_size.parameters


def test_equal_seeds_give_equal_files(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    torch.rand(3)
    again = compress(digits_file, tmp_path / "again", overrides=SMALL)
    other = compress(digits_file, tmp_path / "other", overrides=SMALL, seed=1)
    assert again.student.read_bytes() == finished.student.read_bytes()
    for name in ("impressions.png", "class_similarity.png", "recipe.yaml", "transfer-set/shard-00000000.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (finished.student.parent / name).read_bytes(), name
    assert weights(other.student).keys() == weights(finished.student).keys()
    assert weights(other.student) != weights(finished.student)


def test_resolved_recipe_repeats_the_run(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    again = compress(digits_file, tmp_path / "out", recipe=finished.student.parent / "recipe.yaml")
    assert weights(again.student) == weights(finished.student)


@pytest.mark.parametrize(
    "options", [{"student": "mlp-small", "seed": 3}, {"student": "half", "init": "inherit"}], ids=["random", "pruned"]
)
def test_resolved_recipe_includes_the_options(exports: Exports, tmp_path: Path, options: dict) -> None:
    teacher, short = exports.path("lenet5", "dynamo"), [*SMALL, "synthesis.count=100"]
    first = compress(teacher, tmp_path / "first", recipe="zskd", overrides=short, **options)
    again = compress(teacher, tmp_path / "again", recipe=tmp_path / "first" / "recipe.yaml")
    assert again.student.read_bytes() == first.student.read_bytes()


def test_transfer_set_is_reused(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    again = compress(
        digits_file,
        tmp_path / "out",
        overrides=SMALL,
        transfer_set=finished.student.parent / "transfer-set",
        listener=events.append,
    )
    assert weights(again.student) == weights(finished.student)
    assert not [e for e in events if e.stage == "synthesis"]
    assert not (tmp_path / "out" / "transfer-set").exists()


def test_transfer_set_of_another_teacher_is_refused(
    finished: CompressionResult, digits_file: Path, exports: Exports, tmp_path: Path
) -> None:
    shards = finished.student.parent / "transfer-set"
    for teacher, options in ((exports.path("lenet5", "17"), {}), (digits_file, {"input_range": (0, 1)})):
        with pytest.raises(UsageError, match="made for another"):
            compress(teacher, tmp_path / "out", overrides=SMALL, transfer_set=shards, **options)
    with pytest.raises(UsageError, match="has 400 samples, expected more than the 400 held-out ones"):
        compress(digits_file, tmp_path / "out", overrides=["held_out=400"], transfer_set=shards)
    assert not (tmp_path / "out").exists()


def test_overwrite_removes_only_files_of_a_run(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    (folder / "transfer-set" / "shard-00000009.safetensors").write_bytes(b"old")
    (folder / "notes.txt").write_text("of the user")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="--overwrite"):
        compress(digits_file, folder, overrides=SMALL)
    assert (folder / "student.onnx").exists()
    result = compress(digits_file, folder, overrides=SMALL, seed=1, overwrite=True)
    assert {p.name for p in folder.iterdir()} == FILES | {"notes.txt", "empty"}
    assert not (folder / "transfer-set" / "shard-00000009.safetensors").exists()
    assert weights(result.student) != weights(finished.student)


def test_overwrite_keeps_the_transfer_set_to_reuse(
    finished: CompressionResult, digits_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    with pytest.raises(UsageError, match="transfer-set"):
        compress(digits_file, folder, overrides=SMALL, transfer_set=folder / "transfer-set", overwrite=True)
    assert TransferSet.open(folder / "transfer-set").count == 400
    assert (folder / "student.onnx").exists()


@pytest.mark.parametrize("option", ["overwrite", "resume"])
def test_teacher_in_the_output_folder_is_kept(finished: CompressionResult, tmp_path: Path, option: str) -> None:
    """A run that compresses the student of an earlier run into the same folder."""
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    before = (folder / "student.onnx").read_bytes()
    with pytest.raises(UsageError, match=r"student\.onnx: this run would"):
        compress(folder / "student.onnx", folder, overrides=SMALL, **{option: True})
    assert (folder / "student.onnx").read_bytes() == before


def test_accuracy_gate_needs_evaluation_data(digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"min_accuracy.*--eval-data"):
        compress(digits_file, tmp_path / "out", overrides=[*SMALL, "deployment.min_accuracy=0.9"])
    assert not (tmp_path / "out").exists()


def test_output_folder_that_cannot_be_created(digits_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --output"):
        compress(digits_file, tmp_path / "file" / "out", overrides=SMALL)


def content(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Each file's bytes and time of change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("changes", [{"seed": 1}, {"overrides": [*SMALL, "synthesis.count=200"]}])
def test_resume_with_other_settings_changes_no_file(
    finished: CompressionResult, digits_file: Path, tmp_path: Path, changes: dict
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    before = content(folder)
    with pytest.raises(UsageError, match=r"the run there has other settings: .*\(there: "):
        compress(digits_file, folder, **{"overrides": SMALL, **changes}, resume=True)
    assert content(folder) == before


def test_resume_of_a_finished_run_gives_its_result_and_writes_nothing(
    finished: CompressionResult, digits_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    before, moved = content(folder), finished.to_dict()
    moved["sizes"]["student"]["path"] = str(folder / "student.onnx")
    for teacher in (digits_file, None):
        again = compress(teacher, folder, resume=True)
        assert again.student == folder / "student.onnx"
        assert {**again.to_dict(), "history": again.history} == {
            **moved,
            "history": finished.history,
            "student": str(folder / "student.onnx"),
            "manifest": str(folder / "manifest.json"),
            "report": str(folder / "report.html"),
        }
    assert content(folder) == before


def test_resume_of_a_finished_run_makes_a_damaged_shard_again(finished: CompressionResult, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    shard = folder / "transfer-set" / "shard-00000000.safetensors"
    before, student = shard.read_bytes(), content(folder)[folder / "student.onnx"]
    shard.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    compress(None, folder, resume=True)
    assert shard.read_bytes() == before
    assert content(folder)[folder / "student.onnx"] == student


def test_resume_of_a_finished_run_whose_student_is_gone(finished: CompressionResult, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.student.parent, folder)
    (folder / "student.onnx").unlink()
    assert compress(None, folder, resume=True).student.read_bytes() == finished.student.read_bytes()


def test_the_teacher_is_needed_without_resume(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teacher is missing"):
        compress(None, tmp_path / "out")
    with pytest.raises(UsageError, match="exclude each other"):
        compress(None, tmp_path / "out", resume=True, overwrite=True)
    with pytest.raises(UsageError, match="no such folder"):
        compress(None, tmp_path / "out", resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that not even root can write")
def test_an_unwritable_folder_is_found_before_the_teacher_is_loaded(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.onnx"
    teacher.write_text("no model")
    with pytest.raises(UsageError, match="/sys/kernel/out: cannot be written"):
        compress(teacher, "/sys/kernel/out")


def test_student_can_serve_as_a_teacher(finished: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    first, second = load_teacher(digits_file).domain, load_teacher(finished.student).domain
    assert (second.low, second.high, second.layout, second.shape) == (first.low, first.high, first.layout, first.shape)
    assert not second.assumed
    result = compress(finished.student, tmp_path / "out", overrides=SMALL, student="mlp-small", allow_degenerate=True)
    assert verify(tmp_path / "out", teacher=finished.student, isolate=False).interface == "fits"
    assert result.student_size.parameters < finished.student_size.parameters


def test_verification_of_a_run(finished: CompressionResult, digits_file: Path, digits_data: Path) -> None:
    verification = verify(finished.student.parent, teacher=digits_file, eval_data=digits_data, isolate=False)
    assert (verification.digest, verification.interface) == ("matches", "fits")
    assert verification.parity < 1e-4
    assert verification.accuracy is not None
    assert finished.accuracy is not None
    assert verification.accuracy.student == finished.accuracy.student
    assert verification.accuracy.teacher == finished.accuracy.teacher
    without_teacher = verify(finished.student, isolate=False)
    assert (without_teacher.interface, without_teacher.agreement) == ("no teacher given", None)


def test_missed_gates(digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    """The run writes the student and lists the gates that it missed; ``check`` raises an error."""
    gates = [*SMALL, "deployment.min_agreement=1.0", "deployment.min_accuracy=0.999"]
    result = compress(digits_file, tmp_path / "out", overrides=gates, eval_data=digits_data)
    assert len(result.missed_gates) == 2
    with pytest.raises(QualityError, match=r"agreement.*accuracy") as error:
        result.check()
    assert error.value.exit_code == 5
    assert result.to_dict()["missed_gates"]


@pytest.fixture
def pixels(save_model: SaveModel) -> Path:
    """A teacher of byte images in NHWC order at batch size 1, whose outputs are probabilities."""
    rng = torch.Generator().manual_seed(0)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "k"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["h"]),
        helper.make_node("Gemm", ["h", "w"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    weights = {
        "mean": torch.tensor([123.0, 116.0, 103.0]),
        "std": torch.tensor([58.0, 57.0, 57.5]),
        "k": torch.randn(32, 3, 5, 5, generator=rng) / 5,
        "w": torch.randn(4, 32, generator=rng),
    }
    return save_model(nodes, [1, 12, 16, 3], [1, 4], weights, input_type=TensorProto.UINT8, opset=13)


def test_student_has_the_teachers_type_layout_and_output_kind(pixels: Path, tmp_path: Path) -> None:
    result = compress(pixels, tmp_path / "out", overrides=SMALL, student="cnn-small")
    teacher, student = session(pixels), session(result.student)
    (of_student,), (of_teacher,) = student.get_inputs(), teacher.get_inputs()
    assert (of_student.name, of_student.type) == (of_teacher.name, of_teacher.type)
    assert of_student.shape[1:] == of_teacher.shape[1:]
    x = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    probabilities = student.run(None, {"x": x})[0]
    assert probabilities.shape == (5, 4)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert verify(tmp_path / "out", teacher=pixels, isolate=False).interface == "fits"
    loaded, domain = load_teacher(result.student), load_teacher(pixels).domain
    assert loaded.output.kind == "softmax"
    np.testing.assert_allclose(loaded.domain.low, domain.low, atol=1e-9)
    np.testing.assert_allclose(loaded.domain.high, domain.high, rtol=1e-9)


def test_student_has_the_domain_of_each_channel(exports: Exports, tmp_path: Path) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    path = exports.path("vgg", "17", "log_softmax", fixed=True)
    result = compress(path, tmp_path / "out", overrides=SMALL, student="cnn-small", mean=mean, std=std)
    domain = load_teacher(result.student).domain
    np.testing.assert_allclose(domain.low, [-m / s for m, s in zip(mean, std, strict=True)], rtol=1e-9)
    np.testing.assert_allclose(domain.high, [(1 - m) / s for m, s in zip(mean, std, strict=True)], rtol=1e-9)
    log_probabilities = session(result.student).run(None, {"input": np.zeros((3, 3, 16, 16), np.float32)})[0]
    np.testing.assert_allclose(np.exp(log_probabilities).sum(1), 1, atol=1e-5)


def test_teacher_of_vectors(save_model: SaveModel, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    weights = {"w": torch.randn(13, 20, generator=rng), "v": torch.randn(20, 3, generator=rng)}
    path = save_model(nodes, ["N", 13], ["N", 3], weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DomainWarning)
        result = compress(path, tmp_path / "out", overrides=SMALL[:-1])
    manifest = json.loads(result.manifest.read_text())
    assert manifest["architecture"] == "thin:0.5"
    assert manifest["sizes"]["student"]["multiply_adds"] == 13 * 10 + 10 * 3
    assert manifest["sizes"]["teacher"]["multiply_adds"] == 13 * 20 + 20 * 3
    assert session(result.student).run(None, {"x": np.zeros((2, 13), np.float32)})[0].shape == (2, 3)


@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.DOUBLE, torch.float64), (TensorProto.FLOAT16, torch.float16)])
def test_teacher_in_another_precision(tmp_path: Path, kind: int, dtype: torch.dtype) -> None:
    w = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", kind, ["N", 8])],
        [helper.make_tensor_value_info("y", kind, ["N", 5])],
        [onnx.numpy_helper.from_array(w.numpy(), "w")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    result = compress(path, tmp_path / "out", overrides=SMALL, student="mlp-small")
    assert session(result.student).get_inputs()[0].type == session(path).get_inputs()[0].type


def test_recipe_that_needs_a_head(save_model: SaveModel, tmp_path: Path) -> None:
    path = save_model([helper.make_node("Relu", ["x"], ["y"])], ["N", 5], ["N", 5])
    with pytest.raises(UnsupportedTeacherError, match="final fully connected layer"):
        compress(path, tmp_path / "out", recipe="best", overrides=SMALL)
    assert not (tmp_path / "out").exists()
    result = compress(path, tmp_path / "out", overrides=[*SMALL, "prior.similarity=false"], student="mlp-small")
    assert not (result.student.parent / "class_similarity.png").exists()


@pytest.mark.parametrize(
    "options",
    [{"seed": -1}, {"seed": 2**63}, {"device": "tpu"}, {"student": "resnet-9000"}, {"eval_data": "none.npz"}],
)
def test_bad_options(digits_file: Path, tmp_path: Path, options: dict) -> None:
    with pytest.raises(UsageError):
        compress(digits_file, tmp_path / "out", overrides=SMALL, **options)
    assert not (tmp_path / "out").exists()


def test_a_target_is_met_by_the_file_and_recorded(digits_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = compress(digits_file, folder, overrides=SMALL, target_size="12kB")
    assert 6_000 < result.student.stat().st_size <= 12_000
    settings, manifest = (json.loads((folder / name).read_text()) for name in ("run.json", "manifest.json"))
    student = manifest["architecture"]
    assert student.startswith("thin:0.")
    assert settings["options"]["target_size"] == "12kB"
    assert settings["options"]["student"] == manifest["recipe"]["student"] == student
    assert any(note.startswith(f"{student} of the teacher's widths: ") for note in result.notes)
