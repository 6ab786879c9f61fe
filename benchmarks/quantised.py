"""A LeNet-5 of MNIST, quantised in five ways and converted to half precision; each file is compressed.

    ZSKD_DATA=folder python benchmarks/quantised.py --set synthesis.count=6000 --set distillation.epochs=40

onnxruntime quantises the file; static quantisation is calibrated with real training digits. Every
file is compared with the float file: W, outputs (with and without onnxruntime's optimiser), input
gradients on 256 test digits, and students. ``--fidelity`` trains no students. The script prints
tables, and writes them as JSON to ``--output``.
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
"""Temperature of the loss whose gradients are compared, as in the recipe."""

Write = Callable[[Path, Path, np.ndarray], None]
"""From the float file, the file to write, and calibration digits (N, 1, 32, 32)."""


class Digits(CalibrationDataReader):
    """Real digits in eight batches, for static quantisation."""

    def __init__(self, name: str, x: np.ndarray) -> None:
        self.batches = iter([{name: batch} for batch in np.split(x, 8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def static(source: Path, file: Path, digits: np.ndarray, *, form: QuantFormat, per_channel: bool) -> None:
    """Quantise with fixed scales, which the digits calibrate."""
    prepared = _prepared(source)
    name = onnx.load(prepared).graph.input[0].name
    quantize_static(prepared, file, Digits(name, digits), quant_format=form, per_channel=per_channel)


def dynamic(source: Path, file: Path, digits: np.ndarray) -> None:
    """Quantise with scales that are computed at run time."""
    quantize_dynamic(_prepared(source), file)


def half(source: Path, file: Path, digits: np.ndarray, *, float_ends: bool) -> None:
    """Convert to half precision, with inputs and outputs in float32 on request."""
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=float_ends), file)


def _prepared(source: Path) -> Path:
    """The file after onnxruntime's preparation for quantising."""
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
    parser.add_argument("--teacher", type=Path, help="a float LeNet-5 of MNIST (default: train one)")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of that training")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--fidelity", action="store_true", help="compare the files, and train no students")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/quantised"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    x_train, y_train, x_test, y_test = mnist(data_folder(options.data))
    np.savez(options.output / "test.npz", x=x_test, y=y_test)
    source = options.teacher or options.output / "float.onnx"
    if not source.exists():
        export_default(train_teacher(x_train, y_train, 0, epochs=options.epochs), source)
    digits = _images(x_train[:1024])
    reference = load_teacher(source, input_range=(0, 1))
    files = {"float": source}
    for name in options.only:
        files[name] = options.output / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        WAYS[name](source, files[name], digits)
    rows = []
    for name, file in files.items():
        row = {"file": name, **_fidelity(file, reference, _images(x_test[:256]), y_test[:256])}
        if not options.fidelity:
            row |= _compress(file, options)
        rows.append(row)
        print(json.dumps(row), flush=True)
        (options.output / "quantised.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    _report(rows)


def _images(x: np.ndarray) -> np.ndarray:
    """Images (N, 1, 32, 32) in [0, 1]."""
    return (x.astype(np.float32) / 255)[:, None]


def _fidelity(file: Path, reference: Teacher, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Compare an imported file with onnxruntime and with the float file."""
    teacher = load_teacher(file, input_range=(0, 1))
    row: dict[str, Any] = {"head": teacher.head is not None}
    if teacher.head is not None and reference.head is not None:
        weight = reference.head.weight
        row["weight difference"] = float((teacher.head.weight - weight).norm() / weight.norm())
    array = x.astype(teacher.domain.dtype)
    with torch.no_grad():
        output = teacher(torch.from_numpy(array)).numpy()
    for how, optimise in (("node by node", False), ("optimised", True)):
        (expected,) = run(open_session(file, optimise=optimise), array, [teacher.output.name])
        step = quantisation_step(teacher.source.model.graph.outputs[0], expected)
        row[f"steps, {how}"] = float(np.abs(output.astype(np.float32) - expected.astype(np.float32)).max() / step)
    begin = time.perf_counter()
    gradients = [_gradient(classifier, x, y) for classifier in (teacher, reference)]
    row["seconds for gradients"] = time.perf_counter() - begin
    cosine = torch.cosine_similarity(*gradients)
    return row | {"gradient cosine, mean": float(cosine.mean()), "gradient cosine, least": float(cosine.min())}


def _gradient(teacher: Teacher, x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """Input gradient (N, pixels) of the synthesis loss on real digits; the target is the next class."""
    pixels = torch.from_numpy(x).requires_grad_()
    loss = F.cross_entropy(teacher.logits(pixels).float() / TEMPERATURE, torch.from_numpy(y + 1) % 10, reduction="sum")
    return torch.autograd.grad(loss, pixels)[0].flatten(1)


def _compress(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compress a file, and return accuracies and seconds."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            file,
            Path(folder) / "out",
            recipe="zskd",
            overrides=options.overrides,
            student="lenet5-half",
            seed=0,
            input_range=(0, 1),
            eval_data=options.output / "test.npz",
        )
    assert result.accuracy is not None
    return {
        "teacher": result.accuracy.teacher,
        "student": result.accuracy.student,
        "seconds": time.perf_counter() - begin,
    }


def _report(rows: list[dict[str, Any]]) -> None:
    """Print the tables."""
    print(
        "| file | W difference | quantisation steps from onnxruntime, node by node | optimised | gradient cosine, mean | least |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        weight = f"{row['weight difference']:.2g}" if row["head"] else "no head"
        print(
            f"| {row['file']} | {weight} | {row['steps, node by node']:.2g} | {row['steps, optimised']:.2g} "
            f"| {row['gradient cosine, mean']:.4f} | {row['gradient cosine, least']:.4f} |"
        )
    if any("student" not in row for row in rows):
        return
    print("| file | teacher | student | points relative to the float file | seconds |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['file']} | {100 * row['teacher']:.2f} | {100 * row['student']:.2f} "
            f"| {100 * (row['student'] - rows[0]['student']):+.2f} | {row['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
