"""Problems that the recipes were not tuned on, small enough for a CPU: a hundred classes, and natural images.

    ZSKD_DATA=folder python benchmarks/other_problems.py hundred-classes
    ZSKD_DATA=folder python benchmarks/other_problems.py photographs --recipe zskd --set procedural.dead_leaves=0

``hundred-classes`` has the numbers from 00 to 99 as two MNIST digits side by side, and compresses
LeNet-5 at 32x64 to its half. ``photographs`` has CIFAR-10, and compresses the built-in ``cnn`` to
``cnn-small``. ``--recipe kd`` trains on the real training samples, as an upper bound. The teacher
and its samples are made on first use and kept in ``--output``. The script prints a line of JSON,
and appends it to ``rows.jsonl`` there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import Images, cifar10, data_folder, mnist
from teachers import SLIGHT, export_default
from torch import Tensor

from zskd_onnx import compress
from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.students.zoo.architecture import STUDENTS


def numbers(folder: Path) -> Images:
    """Pairs of MNIST digits: images (N, 32, 64) of classes 0 to 99."""
    rng = np.random.default_rng(0)
    x_train, y_train, x_test, y_test = mnist(folder)
    arrays: list[np.ndarray] = []
    for x, y in ((x_train, y_train), (x_test, y_test)):
        order = rng.permutation(len(x))
        arrays += [np.concatenate([x, x[order]], axis=2), 10 * y + y[order]]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def recombined(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pair the same digits anew: images (N, 1, 32, 64) and their classes."""
    left, right = torch.randperm(len(images)), torch.randperm(len(images))
    digits = torch.cat([images[left, :, :, :32], images[right, :, :, 32:]], dim=3)
    return digits, labels[left] // 10 * 10 + labels[right] % 10


@dataclass(frozen=True)
class Problem:
    """Samples, teacher and student.

    Attributes:
        read: reads the samples from the folder of data sets: images (N, H, W) or (N, H, W, 3).
        shape: shape of one sample, (C, H, W).
        classes: number of classes.
        teacher: architecture of the teacher.
        student: architecture of the student.
        augmentation: augmentation in the teacher's training.
        epochs: epochs of the teacher's training.
        samples_of_epoch: computes the training samples of an epoch from images and labels.
    """

    read: Callable[[Path], Images]
    shape: tuple[int, int, int]
    classes: int
    teacher: str
    student: str
    augmentation: Augmentation
    epochs: int
    samples_of_epoch: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda images, labels: (images, labels)


PROBLEMS = {
    "hundred-classes": Problem(numbers, (1, 32, 64), 100, "lenet5", "lenet5-half", SLIGHT, 30, recombined),
    "photographs": Problem(
        *(cifar10, (3, 32, 32), 10, "cnn", "cnn-small"),
        augmentation=Augmentation(fraction=1, rotation=0, scale=(1, 1), shift=0, flip=0.5, pad=4, crop=0),
        epochs=15,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--student", help="in place of the usual one, such as thin:0.5")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transfer-set", type=Path, help="transfer set of an earlier run")
    parser.add_argument("--keep", type=Path, help="keep the run folder here")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/other-problems"))
    options = parser.parse_args()
    problem, home = PROBLEMS[options.problem], options.output / options.problem
    teacher = home / f"teacher-{options.seed}.onnx"
    if not teacher.exists():
        home.mkdir(parents=True, exist_ok=True)
        write_teacher(problem, teacher, data_folder(options.data), options.seed)
    begin, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            teacher,
            options.keep or Path(folder) / "out",
            recipe=options.recipe,
            overrides=options.overrides,
            student=options.student or problem.student,
            seed=options.seed,
            input_range=(0, 1),
            eval_data=home / "test.npz",
            data=home / "train.npz" if options.recipe == "kd" else None,
            transfer_set=options.transfer_set,
        )
    assert result.accuracy is not None
    row = {
        "recipe": options.recipe,
        "student architecture": options.student or problem.student,
        "parameters": result.student_size.parameters,
        "overrides": options.overrides,
        "seed": options.seed,
        "teacher": result.accuracy.teacher,
        "student": result.accuracy.student,
        "agreement": result.accuracy.agreement,
        "seconds": time.perf_counter() - begin,
        "cpu seconds": time.process_time() - cpu,
        "threads": torch.get_num_threads(),
    }
    line = json.dumps(row)
    print(line)
    with (home / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def write_teacher(problem: Problem, path: Path, data: Path, seed: int, batch: int = 256) -> None:
    """Train and export a teacher, and write ``train.npz`` and ``test.npz`` to its folder."""
    x_train, y_train, x_test, y_test = problem.read(data)
    np.savez(path.with_name("train.npz"), x=x_train, y=y_train)
    np.savez(path.with_name("test.npz"), x=x_test, y=y_test)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(x_train[:, None] if x_train.ndim == 3 else x_train.transpose(0, 3, 1, 2))
    labels = torch.from_numpy(y_train)
    model = STUDENTS[problem.teacher].build(problem.shape, problem.classes).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=problem.epochs * (len(images) // batch))
    for _ in range(problem.epochs):
        x, y = problem.samples_of_epoch(images, labels)
        for indices in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            inputs = problem.augmentation.apply(x[indices].float().div(255), rng)
            optimiser.zero_grad()
            F.cross_entropy(model(inputs), y[indices]).backward()
            optimiser.step()
            schedule.step()
    export_default(model.eval(), path, problem.shape)


if __name__ == "__main__":
    main()
