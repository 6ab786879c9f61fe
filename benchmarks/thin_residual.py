"""Thin a residual teacher for natural images without data, and compare it with the teacher on real photographs.

    python benchmarks/thin_residual.py resnet20_cifar10_folded.onnx [--student thin:0.5] [--steps 3600] [--seed 0]
    python benchmarks/thin_residual.py resnet20_cifar10_folded.onnx --recipe boundary --set synthesis.count=16000
    python benchmarks/thin_residual.py resnet20_cifar10_folded.onnx --init random       # without the teacher's weights
    python benchmarks/thin_residual.py resnet20_cifar10_folded.onnx --real              # on the real training images
    python benchmarks/thin_residual.py resnet20_cifar10_folded.onnx --recipe boundary --time-budget 15m \
        --set distillation.epochs=100 --set synthesis.count=40000                       # as long as the time lasts

The teacher takes CIFAR-10's images with ImageNet's mean and deviation. The student sees procedural images alone (recipe
``procedural``, which draws dead leaves for natural images), or with ``--real`` the 50,000 training images without their
labels (recipe ``kd``), which is the upper line. ``--without`` leaves out a part of the method, to see
what it is worth. One JSON line has the agreement with the teacher on the 10,000 test images, both accuracies, and the
duration. ``--set distillation.loss_weights.blocks=0`` and the like change the recipe.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from data import cifar10, data_folder

from zskd_onnx import compress
from zskd_onnx.students.thinned_student import ThinnedTeacher
from zskd_onnx.system.onnx_runtime import open_session, run

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 128
PART = 500

BUILD = ThinnedTeacher.build
PARTS: dict[str, AbstractContextManager[object]] = {
    "normalisation": patch("zskd_onnx.pipeline.train_student.insert_normalisation", lambda student, samples: 0),
    "errors": patch.object(ThinnedTeacher, "build", lambda thinned, samples=None, seed=0: BUILD(thinned)),
}
"""Part of the method -> what leaves it out. Without errors, the channels with the largest weights remain."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--student", default="thin:0.5")
    parser.add_argument("--init", choices=("random", "inherit"))
    parser.add_argument("--real", action="store_true", help="train on the real images")
    parser.add_argument("--recipe", default="procedural", help="for procedural images")
    parser.add_argument("--without", choices=PARTS, action="append", default=[], help="a part of the method")
    parser.add_argument("--steps", type=int, default=3600, help=f"of {BATCH} images")
    parser.add_argument("--time-budget", help="of the whole run, in place of a number of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="recipe overrides, KEY=VALUE")
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10; default: ZSKD_DATA")
    parser.add_argument("--output", type=Path, help="folder of the run; default: a temporary one")
    options = parser.parse_args()
    training, _, images, labels = cifar10(data_folder(options.data))
    x = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    steps = [
        "distillation.epochs=1",
        f"distillation.epoch_samples={BATCH * options.steps}",
        f"distillation.batch_size={BATCH}",
    ]
    if options.time_budget is not None:
        steps = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for part in options.without:
            stack.enter_context(PARTS[part])
        samples = Path(folder) / "training.npz"
        if options.real:
            np.savez(samples, x=training)
        begin = time.perf_counter()
        result = compress(
            options.teacher,
            options.output or Path(folder) / "out",
            recipe="kd" if options.real else options.recipe,
            data=samples if options.real else None,
            student=options.student,
            init=options.init,
            seed=options.seed,
            mean=MEAN,
            std=STD,
            overrides=[*steps, *options.overrides],
            time_budget=options.time_budget,
            overwrite=True,
        )
        seconds = time.perf_counter() - begin
        predictions = [classes(path, x) for path in (options.teacher, result.student)]
    row = {
        "teacher": options.teacher.name,
        "student": options.student,
        "recipe": "kd" if options.real else options.recipe,
        "init": options.init or "inherit",
        "steps": None if options.time_budget else options.steps,
        "time budget": options.time_budget,
        "seed": options.seed,
        "overrides": options.overrides,
        "without": options.without,
        "agreement": round(100 * float((predictions[0] == predictions[1]).mean()), 2),
        "teacher accuracy": round(100 * float((predictions[0] == labels).mean()), 2),
        "accuracy": round(100 * float((predictions[1] == labels).mean()), 2),
        "parameters": result.student_size.parameters,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds),
    }
    print(json.dumps(row))


def classes(path: Path, x: np.ndarray) -> np.ndarray:
    """The classes that a file predicts."""
    session = open_session(path)
    return np.concatenate([run(session, x[i : i + PART])[0].argmax(1) for i in range(0, len(x), PART)])


if __name__ == "__main__":
    main()
