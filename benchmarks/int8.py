"""Files in int8, calibrated on random tensors, on samples that the program makes, on darker ones, and on real images.

    ZSKD_DATA=folder python benchmarks/int8.py lenet5.onnx student.onnx --data-set mnist
    ZSKD_DATA=folder python benchmarks/int8.py resnet20.onnx --data-set cifar10 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

One JSON line a file and kind of samples: accuracy and agreement with the float file on the test images, on those of which the
float file is confident, and on the held-out samples by which ``zskd-onnx quantize`` judges; bytes; and the median time of a
batch, relative to the float file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import cifar10, data_folder, mnist
from torch import Tensor

from zskd_onnx import EvaluationData, Teacher, load_teacher
from zskd_onnx.data.npz import as_file_input
from zskd_onnx.metrics.onnx_scores import log_probabilities
from zskd_onnx.pipeline.quantization_samples import QuantizationSamples, make_samples
from zskd_onnx.pipeline.quantized_file import quantise_file
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.probes.answers import CONFIDENT
from zskd_onnx.teacher.probes.outputs import TeacherView


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--data-set", choices=("mnist", "fashion-mnist", "cifar10"), required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--mean", type=numbers)
    parser.add_argument("--std", type=numbers)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = data_folder(options.data)
    images = cifar10(folder) if options.data_set == "cifar10" else mnist(folder, options.data_set)
    for path in options.files:
        teacher = load_teacher(path, mean=options.mean, std=options.std)
        for row in measure(teacher, images, options.seed):
            print(json.dumps({"file": path.name, **row}), flush=True)


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def measure(teacher: Teacher, images: tuple[np.ndarray, ...], seed: int) -> list[dict[str, Any]]:
    """A row for each kind of calibration samples; all are judged on the same held-out samples."""
    x_train, _, x_test, y_test = images
    made = make_samples(teacher, seed, torch.device("cpu"), lambda event: None)
    count = len(made.calibration)
    rng = np.random.default_rng(seed)
    real = to_unit(teacher, x_train[rng.permutation(len(x_train))[:count]])
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(seed))
    x, _ = as_file_input(x_test, teacher.domain, "test images")
    before = classes(teacher.source.path, x, teacher)
    confident = TeacherView(teacher).batched_logits(to_unit(teacher, x_test)).softmax(1).amax(1).numpy() >= CONFIDENT
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, samples in (
            ("random tensors", noise),
            (made.kind, made.calibration),
            (f"{made.kind}, ten times darker", made.calibration / 10),
            ("real images", real),
        ):
            result = quantise_file(
                teacher,
                Path(folder) / "int8.onnx",
                "int8",
                QuantizationSamples(samples, made.held_out, kind),
                evaluation=EvaluationData(x, y_test),
            )
            after = classes(result.quantized_file.path, x, teacher)
            assert result.accuracy is not None
            rows.append(
                {
                    "samples": kind,
                    "float accuracy": percent(result.accuracy.teacher),
                    "int8 accuracy": percent(result.accuracy.student),
                    "agreement, test images": percent(np.mean(after == before)),
                    "agreement, confident test images": percent(np.mean((after == before)[confident])),
                    "agreement, held-out samples": percent(result.agreement or 0.0),
                    "confident test images": percent(np.mean(confident)),
                    "float bytes": result.float_file.bytes,
                    "int8 bytes": result.quantized_file.bytes,
                    "latency ratio": round(result.latency.ratio, 2),
                    "conditions": result.latency.conditions,
                }
            )
    return rows


def classes(path: str | Path, x: np.ndarray, teacher: Teacher) -> np.ndarray:
    """The class numbers that a file predicts."""
    return log_probabilities(open_session(path), x, teacher.output).argmax(1).numpy()


def to_unit(teacher: Teacher, x: np.ndarray) -> Tensor:
    """Images of uint8 in the unit space."""
    return teacher.domain.to_unit(torch.from_numpy(as_file_input(x, teacher.domain, "images")[0]))


def percent(share: float) -> float:
    return round(100 * float(share), 2)


if __name__ == "__main__":
    main()
