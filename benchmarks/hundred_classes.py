"""A teacher of a hundred classes: numbers from 00 to 99, two MNIST digits side by side.

    ZSKD_DATA=folder python benchmarks/hundred_classes.py --recipe zskd
    ZSKD_DATA=folder python benchmarks/hundred_classes.py --recipe zskd --set prior.beta=[1,0.1] --set prior.floor=1e-4

Priors and recipes were found with ten classes; this shows what is left of them with a hundred. The teacher is LeNet-5 at 32x64, the
student its half. Training pairs are of training digits, test pairs of test digits. ``--recipe kd`` trains on the 60,000 training
pairs: what a student of this size can learn. Prints a line of JSON and adds it to ``--output``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import data_folder, mnist
from teachers import SLIGHT
from torch import nn

from zskd_onnx import compress
from zskd_onnx.students import STUDENTS

SHAPE = (1, 32, 64)
EPOCHS, BATCH = 30, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--recipe", default="zskd")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transfer-set", type=Path, help="impressions of an earlier run")
    parser.add_argument("--keep", type=Path, help="where the run's folder stays")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/hundred-classes"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    teacher = given.output / f"teacher-{given.seed}.onnx"
    if not teacher.exists():
        write_teacher(given.output, data_folder(given.data), given.seed)
    begin, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            teacher,
            given.keep or Path(folder) / "out",
            recipe=given.recipe,
            overrides=given.overrides,
            student="lenet5-half",
            seed=given.seed,
            input_range=(0, 1),
            eval_data=given.output / "test.npz",
            data=given.output / "train.npz" if given.recipe == "kd" else None,
            transfer_set=given.transfer_set,
        )
    assert result.accuracy is not None
    row = {
        "recipe": given.recipe,
        "overrides": given.overrides,
        "seed": given.seed,
        "teacher": result.accuracy.teacher,
        "student": result.accuracy.student,
        "agreement": result.accuracy.agreement,
        "seconds": time.perf_counter() - begin,
        "cpu seconds": time.process_time() - cpu,
        "threads": torch.get_num_threads(),
    }
    line = json.dumps(row)
    print(line)
    with (given.output / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def pairs(x: np.ndarray, y: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each digit (N, 32, 32) beside another, (N, 32, 64), and the number they make."""
    return np.concatenate([x, x[order]], axis=2), 10 * y + y[order]


def write_teacher(folder: Path, data: Path, seed: int) -> None:
    """Train on pairs that are drawn anew for each epoch; leave test pairs and one epoch's training pairs beside it."""
    x_train, y_train, x_test, y_test = mnist(data)
    fixed = np.random.default_rng(0)
    for name, x, y in (("test", x_test, y_test), ("train", x_train, y_train)):
        images, numbers = pairs(x, y, fixed.permutation(len(x)))
        np.savez(folder / f"{name}.npz", x=images, y=numbers)
    torch.manual_seed(seed)
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    model = STUDENTS["lenet5"].build(SHAPE, 100).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=EPOCHS * (len(x_train) // BATCH))
    for _ in range(EPOCHS):
        first, second = random.permutation(len(x_train)), random.permutation(len(x_train))
        for start in range(0, len(x_train) - BATCH + 1, BATCH):
            rows, others = first[start : start + BATCH], second[start : start + BATCH]
            images = torch.from_numpy(np.concatenate([x_train[rows], x_train[others]], axis=2))
            numbers = torch.from_numpy(10 * y_train[rows] + y_train[others])
            inputs = SLIGHT.apply(images.float().div(255)[:, None], generator)
            optimiser.zero_grad()
            F.cross_entropy(model(inputs), numbers).backward()
            optimiser.step()
            schedule.step()
    export(model.eval(), folder / f"teacher-{seed}.onnx")


def export(model: nn.Module, path: Path) -> None:
    torch.onnx.export(
        model,
        (torch.zeros(2, *SHAPE),),
        path,
        dynamo=True,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main()
