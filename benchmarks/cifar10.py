"""CIFAR-10 and SVHN: the pairs of teacher and student that the papers have, with the recipes they are known for.

    ZSKD_DATA=folder python benchmarks/cifar10.py --seconds 560      # again and again, until nothing is left
    ZSKD_DATA=folder python benchmarks/cifar10.py --smoke            # minutes on a CPU; its figures mean nothing
    python benchmarks/cifar10.py --table

Meant for one GPU in stretches of at most ten minutes: a stretch ends after ``--seconds``, the next goes on
where it stopped, within a teacher's training, a synthesis and a student's training. Every teacher is exported
twice: as torch does by itself, which folds what batch normalisation it can, and with it kept. Rows of a set that is not
in the folder stay empty.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from data import NoData, cifar10, data_folder, svhn
from rows import commit, resolved, standing
from teachers import export_default
from torch import Tensor, nn

from zskd_onnx import ZskdError, compress, load_recipe
from zskd_onnx.students.choose import choose

SETS = {"cifar10": cifar10, "svhn": svhn}
SHAPE = (3, 32, 32)
COLOUR = (
    *(f"augmentation.{change}" for change in ("flip=0.5", "pad=4", "rotation=15", "scale=[0.8,1.2]", "shift=0.1")),
    "augmentation.fraction=0.8",
    "augmentation.window=0",
)
"""Augmentation for photographs: they have no stroke to keep upright, and mirror images; they fill their frame."""


@dataclass(frozen=True)
class Run:
    """A cell of the table.

    Attributes:
        kept: whether the teacher's file keeps its batch normalisation.
        published: the papers' figure.
        what: what is special about it, in its name.
        real: whether the recipe trains on real images.
        data: the name of the set.
    """

    teacher: str
    student: str
    recipe: str
    published: str
    kept: bool = False
    real: bool = False
    overrides: tuple[str, ...] = ()
    data: str = "cifar10"
    what: str = ""

    @property
    def name(self) -> str:
        prefix = "" if self.data == "cifar10" else f"{self.data}, "
        special = f", {self.what}" if self.what else ""
        return f"{prefix}{self.teacher} to {self.student}, {self.recipe}{special}{', BN kept' if self.kept else ''}"


AS_MADE = ("distillation.augmentation.fraction=0",)
"""Generated samples as they are, as the papers have it."""

IMPRESSIONS = tuple(f"distillation.{change}" for change in COLOUR)
ADVERSARIAL = (
    *(f"generator.{change}" for change in ("width=128", "output=linear", "memory=0")),
    "distillation.epochs=800",
    *AS_MADE,
)
SGD = tuple(
    f"distillation.{change}" for change in ("optimiser=sgd", "learning_rate=0.1", "schedule=steps", "weight_decay=5e-4")
)
"""How wide ResNets are trained on real samples, by ABM's replication too."""

DAFL = (
    *(f"generator.{change}" for change in ("width=128", "noise=1000", "output=linear", "memory=0", "student_steps=1")),
    *(f"generator.{change}" for change in ("learning_rate=0.02", "one_hot=0.05", "activation=0.01")),
    *(f"distillation.{change}" for change in ("epochs=200", "epoch_samples=102400", "batch_size=256", "temperature=1")),
    *SGD,
    *AS_MADE,
)
"""The authors' weights and rates for CIFAR-10; they take batches of 1,024 and more of them."""

NO_LEAVES = ("distillation.augmentation.leaves=0",)
LEAVES = tuple(f"distillation.augmentation.{change}" for change in ("fraction=1", "leaves=1"))

RUNS = (
    Run("alexnet", "alexnet-half", "best", "-", overrides=IMPRESSIONS),
    Run("alexnet", "alexnet-half", "zskd", "69.56", overrides=IMPRESSIONS),
    Run("alexnet", "alexnet-half", "zskd", "69.56", overrides=(*IMPRESSIONS, *NO_LEAVES), what="no leaves"),
    Run("alexnet", "alexnet-half", "zskd", "56.80", overrides=AS_MADE, what="no augmentation"),
    Run("alexnet", "alexnet-half", "zskd-uniform", "49.23", overrides=AS_MADE, what="no augmentation"),
    Run("alexnet", "alexnet-half", "mvn", "73.91", overrides=(*IMPRESSIONS, "init=fresh")),
    Run("alexnet", "alexnet-half", "dafl", "70.23", overrides=DAFL),
    Run("alexnet", "alexnet-half", "noise", "36.49", overrides=IMPRESSIONS),
    Run("alexnet", "alexnet-half", "noise", "-", overrides=(*IMPRESSIONS, *LEAVES), what="leaves alone"),
    Run("alexnet", "alexnet-half", "kd", "80.08, 76.88", real=True, overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "mvn-softmax", "93.31", overrides=(*IMPRESSIONS, "synthesis.activation=0.1")),
    Run("resnet34", "resnet18", "best", "-", overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "zskd", "91.99", overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "deep-inversion", "93.26", kept=True, overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "dafl", "92.22", overrides=DAFL),
    Run("resnet34", "resnet18", "kd", "94.40", real=True, overrides=IMPRESSIONS),
    *(
        Run("wrn-40-2", student, recipe, published, real=recipe == "kd-at", overrides=more)
        for student, figures in (("wrn-16-1", ("83.63", "84.78", "82.85")), ("wrn-16-2", ("89.31", "91.12", "87.27")))
        for recipe, published, more in (
            ("abm", figures[0], ADVERSARIAL),
            ("abm-modified", figures[1], ADVERSARIAL),
            ("kd-at", figures[2], ("distillation.epoch_samples=50000", "distillation.epochs=200", *SGD, *IMPRESSIONS)),
        )
    ),
    Run("wrn-40-2", "wrn-16-1", "abm", "94.00", overrides=ADVERSARIAL, data="svhn"),
    Run(
        "wrn-40-2",
        "wrn-16-1",
        "kd-at",
        "80.75, of 100 images of each class",
        real=True,
        overrides=("data.per_class=100", "distillation.epoch_samples=73257", "distillation.epochs=100", *SGD, *AS_MADE),
        data="svhn",
    ),
)
SMOKE = {
    "synthesis": ("synthesis.count=200", "synthesis.iterations=2"),
    "generator": ("generator.width=4",),
    "all": ("held_out=100", "distillation.epochs=1", "distillation.epoch_samples=256", "distillation.batch_size=64"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="runs whose name contains one of these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, help="end the stretch after so long")
    parser.add_argument("--smoke", action="store_true", help="a few images and steps; goes to a folder of its own")
    parser.add_argument("--table", action="store_true", help="print what earlier runs gave")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/cifar10"))
    given = parser.parse_args()
    given.output = given.output / ("smoke" if given.smoke else f"seed-{given.seed}")
    given.output.mkdir(parents=True, exist_ok=True)
    runs = [run for run in RUNS if not given.only or any(part in run.name for part in given.only)]
    if not given.table:
        if given.seconds:
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
            signal.alarm(given.seconds)
        try:
            for run in runs:
                try:
                    measure(run, given)
                except NoData as missing:
                    print(f"{run.name}: {missing}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("the stretch is over; the same command goes on", flush=True)
    print_table(runs, given.output)


def prepare(name: str, given: argparse.Namespace) -> Path:
    """The folder with the set's images as the benchmark needs them, made once."""
    folder = given.output / name
    if not (folder / "train.npz").exists():
        x_train, y_train, x_test, y_test = SETS[name](data_folder(given.data))
        folder.mkdir(exist_ok=True)
        apart = 100 if given.smoke else 1  # the files hold one class after another
        np.savez(folder / "test.npz", x=x_test[::apart], y=y_test[::apart])
        np.savez(folder / "train.npz", x=x_train[::apart], y=y_train[::apart])
    return folder


def teacher_file(name: str, kept: bool, folder: Path, given: argparse.Namespace) -> Path:
    """A trained teacher's file, of the two that are exported; training goes on where it stopped."""
    paths = {False: folder / f"{name}.onnx", True: folder / f"{name}-bn.onnx"}
    if not all(path.exists() for path in paths.values()):
        with np.load(folder / "train.npz") as file:
            x, y = file["x"], file["y"]
        net = nn.Sequential(_Normalised(x), choose(name, SHAPE, 0).factory(SHAPE, 10))
        train(net, x, y, folder / f"{name}.pt", given)
        for with_norms, path in paths.items():
            export_default(net.eval(), path, SHAPE, folded=not with_norms)
    return paths[kept]


class _Normalised(nn.Module):
    """From [0, 1] to mean 0 and deviation 1 in each channel of images (N, H, W, C) uint8; the file then takes [0, 1]."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        for name, found in (("mean", images.mean((0, 1, 2))), ("std", images.std((0, 1, 2)))):
            self.register_buffer(name, torch.from_numpy(found).float().div(255).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def train(
    net: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    state: Path,
    given: argparse.Namespace,
    epochs: int = 100,
    batch: int = 128,
) -> None:
    """SGD with Nesterov momentum and a one-cycle rate, crops, and flips but of digits."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(255)
    y = torch.from_numpy(labels).to(device)
    mirrored = 0.0 if state.parent.name == "svhn" else 0.5
    epochs = 1 if given.smoke else epochs
    torch.manual_seed(given.seed)
    net.to(device).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rate = 0.05 if "alexnet" in state.name else 0.1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(x) // batch))
    begin = 0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        begin = saved["epoch"]
    for epoch in range(begin, epochs):
        net.train()
        generator = torch.Generator().manual_seed(given.seed * 1000 + epoch)
        for chosen in torch.randperm(len(x), generator=generator)[: len(x) // batch * batch].split(batch):
            part = _crop(x[chosen.to(device)], mirrored, generator)
            loss = F.cross_entropy(net(part), y[chosen.to(device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        parts = {"net": net, "optimiser": optimiser, "schedule": schedule}
        torch.save({"epoch": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}, state)
    net.eval().cpu()


def _crop(x: Tensor, mirrored: float, generator: torch.Generator) -> Tensor:
    """Random crops after padding by four, a share of them mirrored; a batch shares its draw of the crop."""
    top, left = (int(n) for n in torch.randint(9, (2,), generator=generator))
    x = F.pad(x, (4, 4, 4, 4), mode="reflect")[..., top : top + 32, left : left + 32]
    turned = torch.rand(len(x), generator=generator).to(x.device) < mirrored
    return torch.where(turned.view(-1, 1, 1, 1), x.flip(3), x).contiguous(memory_format=torch.channels_last)


def measure(run: Run, given: argparse.Namespace) -> None:
    """One cell, unless it is there; an interrupted one goes on."""
    path = given.output / f"{run.name}.json"
    overrides = [*run.overrides, *(smoke(run) if given.smoke else ())]
    recipe = resolved(run.recipe, overrides)
    if standing(path, recipe):
        return
    home = prepare(run.data, given)
    teacher = teacher_file(run.teacher, run.kept, home, given)
    folder = given.output / run.name
    going_on = folder.exists() and not path.exists()  # what has a row failed, or was of another recipe
    path.unlink(missing_ok=True)
    begin = time.perf_counter()
    try:
        result = compress(
            teacher,
            folder,
            recipe=run.recipe,
            overrides=overrides,
            student=run.student,
            seed=given.seed,
            input_range=(0, 1),
            eval_data=home / "test.npz",
            data=home / "train.npz" if run.real else None,
            resume=going_on,
            overwrite=not going_on,
        )
    except ZskdError as error:
        row: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
    else:
        assert result.accuracy is not None
        row = {"teacher": result.accuracy.teacher, "student": result.accuracy.student}
    row |= {"recipe": recipe, "commit": commit()}
    row["seconds of the last stretch"] = time.perf_counter() - begin
    path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


def smoke(run: Run) -> tuple[str, ...]:
    """Settings with which a run takes seconds."""
    generates = load_recipe(run.recipe).generator is not None
    part = () if run.real else SMOKE["generator" if generates else "synthesis"]
    return tuple(change for change in (*part, *SMOKE["all"]) if run.recipe != "noise" or "iterations" not in change)


def print_table(runs: list[Run], folder: Path) -> None:
    print("| teacher to student, recipe | published | teacher | student |\n|---|---|---|---|")
    for run in runs:
        path = folder / f"{run.name}.json"
        row = json.loads(path.read_text()) if path.exists() else {}
        if "student" in row:
            cells = f"{100 * row['teacher']:.2f} | {100 * row['student']:.2f}"
        else:
            cells = f" | {row.get('error', '')}"
        print(f"| {run.name} | {run.published} | {cells} |")


if __name__ == "__main__":
    main()
