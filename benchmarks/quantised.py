"""A LeNet-5 teacher of MNIST, quantised in five ways and in half precision, each compressed.

    ZSKD_DATA=folder python benchmarks/quantised.py --set synthesis.count=6000 --set distillation.epochs=40

onnxruntime does the quantising; real training digits calibrate its static forms. Every file is
compared with the float one: W, outputs (node by node and as onnxruntime optimises them), input
gradients on 256 test digits, students. ``--fidelity`` leaves the students out. Prints a table
and writes it as JSON to ``--output``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from data import data_folder, mnist
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from teachers import export_default, train_teacher

from zskd_onnx import compress, load_teacher
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.quantisation_step import quantisation_step
from zskd_onnx.teacher.teacher import Teacher

TEMPERATURE = 20.0
"""At which gradients are compared: the recipe's."""

Write = Callable[[Path, Path, np.ndarray], None]


class Digits(CalibrationDataReader):
    """Batches of real digits, for static quantisation."""

    def __init__(self, name: str, x: np.ndarray) -> None:
        self.batches = iter([{name: batch} for batch in np.split(x, 8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def static(source: Path, file: Path, digits: np.ndarray, *, form: QuantFormat, per_channel: bool) -> None:
    prepared = _prepared(source)
    name = onnx.load(prepared).graph.input[0].name
    quantize_static(prepared, file, Digits(name, digits), quant_format=form, per_channel=per_channel)


def dynamic(source: Path, file: Path, digits: np.ndarray) -> None:
    quantize_dynamic(_prepared(source), file)


def half(source: Path, file: Path, digits: np.ndarray, *, float_ends: bool) -> None:
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=float_ends), file)


def _prepared(source: Path) -> Path:
    file = source.with_name("prepared.onnx")
    quant_pre_process(source, file)
    return file


WAYS: dict[str, Write] = {
    "QDQ, per tensor": partial(static, form=QuantFormat.QDQ, per_channel=False),
    "QDQ, per channel": partial(static, form=QuantFormat.QDQ, per_channel=True),
    "QOperator": partial(static, form=QuantFormat.QOperator, per_channel=False),
    "QOperator, per channel": partial(static, form=QuantFormat.QOperator, per_channel=True),
    "dynamic": dynamic,
    "fp16": partial(half, float_ends=False),
    "fp16, float ends": partial(half, float_ends=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--teacher", type=Path, help="a float LeNet-5 of MNIST; trained where it is left out")
    parser.add_argument("--epochs", type=int, default=6, help="of that training")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--fidelity", action="store_true", help="compress nothing")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/quantised"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)

    x_train, y_train, x_test, y_test = mnist(data_folder(given.data))
    np.savez(given.output / "test.npz", x=x_test, y=y_test)
    source = given.teacher or given.output / "float.onnx"
    if not source.exists():
        export_default(train_teacher(x_train, y_train, 0, epochs=given.epochs), source)
    digits = _images(x_train[:1024])
    reference = load_teacher(source, input_range=(0, 1))
    files = {"float": source}
    for name in given.only:
        files[name] = given.output / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        WAYS[name](source, files[name], digits)
    rows = []
    for name, file in files.items():
        row = {"file": name, **_fidelity(file, reference, _images(x_test[:256]), y_test[:256])}
        if not given.fidelity:
            row |= _compress(file, given)
        rows.append(row)
        print(json.dumps(row), flush=True)
        (given.output / "quantised.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    _report(rows)


def _images(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32) / 255)[:, None]


def _fidelity(file: Path, reference: Teacher, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """How far a file's import is from onnxruntime, and from the float original."""
    teacher = load_teacher(file, input_range=(0, 1))
    row: dict[str, Any] = {"head": teacher.head is not None}
    if teacher.head is not None and reference.head is not None:
        theirs = reference.head.weight
        row["weight difference"] = float((teacher.head.weight - theirs).norm() / theirs.norm())
    array = x.astype(teacher.domain.dtype)
    with torch.no_grad():
        ours = teacher(torch.from_numpy(array)).numpy()
    for how, optimise in (("node by node", False), ("optimised", True)):
        (given,) = run(open_session(file, optimise=optimise), array, [teacher.output.name])
        step = quantisation_step(teacher.source.model.graph.outputs[0], given)
        row[f"steps, {how}"] = float(np.abs(ours.astype(np.float32) - given.astype(np.float32)).max() / step)
    begin = time.perf_counter()
    gradients = [_gradient(one, x, y) for one in (teacher, reference)]
    row["seconds for gradients"] = time.perf_counter() - begin
    cosine = torch.cosine_similarity(*gradients)
    return row | {"gradient cosine, mean": float(cosine.mean()), "gradient cosine, least": float(cosine.min())}


def _gradient(teacher: Teacher, x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """Of the synthesis loss on real digits, each to be made the class after its own: (N, pixels)."""
    pixels = torch.from_numpy(x).requires_grad_()
    loss = F.cross_entropy(teacher.logits(pixels).float() / TEMPERATURE, torch.from_numpy(y + 1) % 10, reduction="sum")
    return torch.autograd.grad(loss, pixels)[0].flatten(1)


def _compress(file: Path, given: argparse.Namespace) -> dict[str, Any]:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            file,
            Path(folder) / "out",
            recipe="zskd",
            overrides=given.overrides,
            student="lenet5-half",
            seed=0,
            input_range=(0, 1),
            eval_data=given.output / "test.npz",
        )
    assert result.accuracy is not None
    return {
        "teacher": result.accuracy.teacher,
        "student": result.accuracy.student,
        "seconds": time.perf_counter() - begin,
    }


def _report(rows: list[dict[str, Any]]) -> None:
    print("| file | W difference | steps from onnxruntime, node by node | optimised | gradient cosine, mean | least |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        weight = f"{row['weight difference']:.2g}" if row["head"] else "no head"
        print(
            f"| {row['file']} | {weight} | {row['steps, node by node']:.2g} | {row['steps, optimised']:.2g} "
            f"| {row['gradient cosine, mean']:.4f} | {row['gradient cosine, least']:.4f} |"
        )
    if any("student" not in row for row in rows):
        return
    print("| file | teacher | student | points from the float teacher's | seconds |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['file']} | {100 * row['teacher']:.2f} | {100 * row['student']:.2f} "
            f"| {100 * (row['student'] - rows[0]['student']):+.2f} | {row['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
