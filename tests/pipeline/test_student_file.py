"""Whole runs whose student is an ONNX file (``--student small.onnx``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.pipeline import drop_in_teachers as teachers
from tests.pipeline.drop_in_teachers import HEAD, RESIDUAL, save
from zskd_onnx import Cancelled, UsageError, compress, prepare
from zskd_onnx.events import Event
from zskd_onnx.students.choose import build

OVERRIDES = ("synthesis.count=200", "held_out=100", "distillation.epochs=2", "distillation.batch_size=8")
SETTINGS = {"recipe": "noise", "overrides": OVERRIDES, "allow_degenerate": True}
IMAGES = "float[N, 3, 8, 8] x"
CHAIN = """
    h = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k1, c1)
    flat = GlobalAveragePool (h)
    r = Relu (flat)
    m = Flatten (r)
    y = Gemm (m, w, b)
"""
SMALL = {"k1": (4, 3, 3, 3), "c1": (4,), "w": (4, 4), "b": (4,)}


def weights(path: Path) -> dict[str, bytes]:
    return {t.name: numpy_helper.to_array(t).tobytes() for t in onnx.load(path).graph.initializer}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return save(tmp_path / "teacher.onnx", RESIDUAL + HEAD, IMAGES)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return save(tmp_path / "small.onnx", CHAIN, IMAGES, weights=SMALL, author="another")


def test_the_weights_of_the_file_come_back_to_the_byte(teacher: Path, small: Path) -> None:
    plan = prepare(teacher, student=str(small), recipe="noise", init="file")
    student = build(plan.choice, plan.teacher.domain.shape, plan.teacher.classes, 0)
    assert student.to_file() == onnx.load(small)
    drawn = prepare(teacher, student=str(small), recipe="noise", init="random")
    student = build(drawn.choice, plan.teacher.domain.shape, plan.teacher.classes, 0)
    after = {t.name: numpy_helper.to_array(t) for t in student.to_file().graph.initializer}
    assert all(after[name].tobytes() != content for name, content in weights(small).items())
    assert (plan.recipe.init, drawn.recipe.init) == ("file", "random")
    assert prepare(teacher, student=str(small), recipe="noise").recipe.init == "file"


def test_training_changes_all_weights_and_nothing_else(
    teacher: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = compress(teacher, "out", student="small.onnx", **SETTINGS)
    before, after = onnx.load(small), onnx.load(result.student)
    assert all(weights(result.student)[name] != content for name, content in weights(small).items())
    described = {p.key: p.value for p in after.metadata_props}
    assert described["author"] == "another"
    assert described["zskd.student"] == "small.onnx"
    for model in (before, after):
        del model.metadata_props[:]
        model.doc_string = ""
        for tensor in model.graph.initializer:
            tensor.raw_data = bytes(len(tensor.raw_data))
    assert after == before
    settings = json.loads((tmp_path / "out" / "run.json").read_text())
    assert settings["options"]["student"] == str(small)
    assert settings["digests"]["student"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert "cannot name a file: give --student" in (tmp_path / "out" / "recipe.yaml").read_text()


def test_a_resumed_run_gives_the_same_student(teacher: Path, small: Path, tmp_path: Path) -> None:
    """From a file whose weights were moved elsewhere, but not from one that has changed."""

    def cancel(event: Event) -> None:
        if (event.kind, event.stage, event.completed) == ("progress", "distillation", 20):
            raise Cancelled

    whole = compress(teacher, tmp_path / "whole", student=str(small), **SETTINGS).student
    with pytest.raises(Cancelled):
        compress(teacher, tmp_path / "out", student=f"{small.parent}/./small.onnx", listener=cancel, **SETTINGS)
    assert (tmp_path / "out" / "checkpoint.pt").is_file()
    content = small.read_bytes()
    small.write_bytes(content + b"\x0a\x00")
    with pytest.raises(UsageError, match="the file of --student has changed"):
        compress(None, tmp_path / "out", resume=True)
    (tmp_path / "moved").mkdir()
    small.unlink()
    with pytest.raises(UsageError, match=r"small\.onnx: no such file; expected an ONNX model of the run in .* moved"):
        compress(None, tmp_path / "out", resume=True)
    moved = tmp_path / "moved" / "small.onnx"
    moved.write_bytes(content)
    resumed = compress(None, tmp_path / "out", resume=True, student=str(moved), allow_degenerate=True).student
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_run_does_not_write_over_its_students_file(teacher: Path, small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    own = small.rename(tmp_path / "out" / "student.onnx")
    with pytest.raises(UsageError, match=r"student\.onnx: this run would remove or replace it"):
        compress(teacher, tmp_path / "out", student=str(own), overwrite=True)


def test_external_weights_come_inside(teacher: Path, small: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(small), tmp_path / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    plan = prepare(teacher, student=str(tmp_path / "apart.onnx"), recipe="noise")
    student = build(plan.choice, (3, 8, 8), 4, 0)
    assert {t.name: numpy_helper.to_array(t).tobytes() for t in student.to_file().graph.initializer} == weights(small)


SHAPES = {**SMALL, "w": (4, 5), "b": (5,)}
QUANTISED = """
    q = DequantizeLinear (k8, step)
""" + CHAIN.replace("k1", "q")
INT8 = {**SMALL, "k8": np.ones((4, 3, 3, 3), np.int8), "step": np.array(0.1, np.float32)}
Write = Callable[[Path], object]
REFUSALS: dict[str, tuple[Write, str]] = {
    "not ONNX": (lambda path: path.write_bytes(b"PK"), r"not an ONNX model.*export it again"),
    "classes": (
        lambda path: save(path, CHAIN, IMAGES, "float[N, 5] y", SHAPES),
        r"output 'y' has shape .*5\].*4\]; export",
    ),
    "undeclared classes": (lambda path: save(path, CHAIN, IMAGES, "float[N, K] y", SHAPES), r"'y' has shape|5 classes"),
    "input name": (
        lambda path: save(path, CHAIN.replace("(x,", "(image,"), IMAGES.replace(" x", " image"), weights=SMALL),
        r"inputs \['image'\], the teacher has \['x'\]; export it",
    ),
    "input size": (lambda path: save(path, CHAIN, "float[N, 3, 9, 9] x", weights=SMALL), "input 'x' has shape .*9, 9"),
    "layout": (
        lambda path: save(
            path,
            CHAIN.replace("h =", "t = Transpose <perm = [0, 3, 1, 2]> (x) h =").replace("(x, k1", "(t, k1"),
            "float[N, 8, 8, 3] x",
            weights=SMALL,
        ),
        "input 'x' has shape .*8, 8, 3",
    ),
    "element type": (
        lambda path: save(
            path,
            CHAIN.replace("h =", "t = Cast <to = 1> (x) h =").replace("(x, k1", "(t, k1"),
            "uint8[N, 3, 8, 8] x",
            weights=SMALL,
        ),
        r"input 'x' has type tensor\(uint8\), the teacher's tensor\(float\)",
    ),
    "fixed batch": (
        lambda path: save(path, CHAIN, "float[1, 3, 8, 8] x", "float[1, 4] y", weights=SMALL),
        "fixed batch size of 1, expected a free one",
    ),
    "output name": (
        lambda path: save(path, CHAIN.replace("y =", "z ="), IMAGES, "float[N, 4] z", weights=SMALL),
        "has the outputs 'z'; expected 'y'",
    ),
    "probabilities": (
        lambda path: save(path, CHAIN.replace("y =", "z =") + "y = Softmax (z)", IMAGES, weights=SMALL),
        r"output 'y' holds probabilities \(softmax\), the teacher's holds logits; export it with the same last layer",
    ),
    "int8 weights": (
        lambda path: save(path, QUANTISED, IMAGES, weights=INT8),
        "quantised weights cannot be trained; give",
    ),
    "no weights": (
        lambda path: save(
            path,
            "p = GlobalAveragePool (x) f = Flatten (p) y = Pad (f, pads)",
            IMAGES,
            weights={"pads": np.array([0, 0, 0, 1])},
        ),
        "no floating-point weights.*give a neural network",
    ),
}


@pytest.mark.parametrize(("write", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_file_that_does_not_fit_is_refused(teacher: Path, tmp_path: Path, write: Write, message: str) -> None:
    path = tmp_path / "bad.onnx"
    write(path)
    with pytest.raises(UsageError, match=rf"^student {path}: .*{message}") as error:
        prepare(teacher, student=str(path), recipe="noise")
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_external_data_outside_its_folder_is_refused(teacher: Path, small: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(small), tmp_path / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(tmp_path / "apart.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../w.bin"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"refers to data outside the model's folder .*put the data beside"):
        prepare(teacher, student=str(tmp_path / "folder" / "bad.onnx"), recipe="noise")


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    teacher = teachers.label_first(tmp_path / "teacher.onnx")
    model = onnx.load(teacher)
    keys = next(a for node in model.graph.node if node.op_type == "ZipMap" for a in node.attribute)
    keys.ints[:] = [3, 5, 9]
    onnx.save(model, tmp_path / "keys.onnx")
    with pytest.raises(UsageError, match=r"'output_probability' has the labels 3, 5, 9, the teacher's has 3, 5, 7"):
        prepare(teacher, student=str(tmp_path / "keys.onnx"), recipe="noise")
    del model.graph.output[0]
    onnx.save(model, tmp_path / "fewer.onnx")
    with pytest.raises(UsageError, match="has the outputs 'output_probability'; expected 'output_label', 'output_prob"):
        prepare(teacher, student=str(tmp_path / "fewer.onnx"), recipe="noise")


def test_bad_initialisation(teacher: Path, small: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--student thin:0\.5"):
        prepare(teacher, student=str(small), recipe="noise", init="inherit")
    for student in ("cnn-small", "thin:0.5"):
        with pytest.raises(
            UsageError, match=rf"student '{student}' is none; give --student FILE\.onnx, or another --init"
        ):
            prepare(teacher, student=student, recipe="noise", init="file")
    with pytest.raises(UsageError, match=r"recipe cannot name a file of your own; give it with --student"):
        prepare(teacher, recipe="noise", overrides=["student=small.onnx"])
    with pytest.raises(UsageError, match=r"no\.onnx: no such file; expected an ONNX model"):
        prepare(teacher, student=str(tmp_path / "no.onnx"))
