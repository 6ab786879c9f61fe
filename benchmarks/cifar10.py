"""CIFAR-10 and SVHN: the papers' pairs of teacher and student, each with the recipes of its papers.

    ZSKD_DATA=folder python benchmarks/cifar10.py --seconds 560      # repeat until all runs are done
    ZSKD_DATA=folder python benchmarks/cifar10.py --smoke            # minutes on a CPU; the figures mean nothing
    ZSKD_DATA=folder python benchmarks/cifar10.py --only alexnet --teacher-epochs 10 --set distillation.epochs=5
    python benchmarks/cifar10.py --table

The script is meant for one GPU, in parts of at most ten minutes. A part ends after ``--seconds``,
and the next call resumes where it stopped: in the training of a teacher, in a synthesis, or in the
training of a student. On a CPU, ``--teacher-epochs`` and ``--set`` cut the schedule to what there is time for.
Every teacher is exported twice: by torch's default exporter, which folds
batch normalisation where it can, and without folding. Rows of a data set that is not in the folder
stay empty.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from cifar10_runs import RUNS, Run
from data import NoData, cifar10, data_folder, svhn
from rows import commit, resolved, standing
from teachers import export_default
from torch import Tensor, nn

from zskd_onnx import ZskdError, compress
from zskd_onnx.distillation.precision import computing_in
from zskd_onnx.students.choose import choose

SETS = {"cifar10": cifar10, "svhn": svhn}
SHAPE = (3, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="only runs of these names, or whose names contain them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, help="end this part after so many seconds")
    parser.add_argument("--teacher-epochs", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--smoke", action="store_true", help="a few images and steps, in a folder of its own")
    parser.add_argument("--table", action="store_true", help="print the finished runs, and run nothing")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/cifar10"))
    options = parser.parse_args()
    options.output = options.output / ("smoke" if options.smoke else f"seed-{options.seed}")
    options.output.mkdir(parents=True, exist_ok=True)
    names = {run.name for run in RUNS}
    runs = [
        run
        for run in RUNS
        if not options.only or any(run.name == part if part in names else part in run.name for part in options.only)
    ]
    if not options.table:
        if options.seconds:
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
            signal.alarm(options.seconds)
        try:
            for run in runs:
                try:
                    measure(run, options)
                except NoData as missing:
                    print(f"{run.name}: {missing}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("this part is over; the same command resumes", flush=True)
    print_table(runs, options.output)


def prepare(name: str, options: argparse.Namespace) -> Path:
    """The folder with ``train.npz`` and ``test.npz`` of a data set, written on first use."""
    folder = options.output / name
    if not (folder / "train.npz").exists():
        x_train, y_train, x_test, y_test = SETS[name](data_folder(options.data))
        folder.mkdir(exist_ok=True)
        stride = 100 if options.smoke else 1  # the files are sorted by class
        np.savez(folder / "test.npz", x=x_test[::stride], y=y_test[::stride])
        np.savez(folder / "train.npz", x=x_train[::stride], y=y_train[::stride])
    return folder


def teacher_file(name: str, batch_norm: bool, folder: Path, options: argparse.Namespace) -> Path:
    """The file of a trained teacher; an interrupted training is resumed.

    Args:
        batch_norm: whether the file keeps batch normalisation; both files are exported.
    """
    paths = {False: folder / f"{name}.onnx", True: folder / f"{name}-bn.onnx"}
    if not all(path.exists() for path in paths.values()):
        with np.load(folder / "train.npz") as file:
            x, y = file["x"], file["y"]
        net = nn.Sequential(_Normalised(x), choose(name, SHAPE).factory(SHAPE, 10))
        train(net, x, y, folder / f"{name}.pt", options)
        for with_norms, path in paths.items():
            export_default(net.eval(), path, SHAPE, folded=not with_norms)
    return paths[batch_norm]


class _Normalised(nn.Module):
    """Standardises inputs in [0, 1]: mean 0 and standard deviation 1 in each channel.

    It is part of the network, so the exported file takes inputs in [0, 1].
    """

    def __init__(self, images: np.ndarray) -> None:
        """
        Args:
            images: training images (N, H, W, C) in uint8.
        """
        super().__init__()
        for name, values in (("mean", images.mean((0, 1, 2))), ("std", images.std((0, 1, 2)))):
            self.register_buffer(name, torch.from_numpy(values).float().div(255).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def train(
    net: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    state: Path,
    options: argparse.Namespace,
    batch: int = 128,
) -> None:
    """Train with Nesterov SGD, a one-cycle learning rate, random crops and, except for digits, flips.

    Args:
        net: the network; it is changed in place.
        images: (N, H, W, C) in uint8.
        labels: classes (N,).
        state: file with the state of an interrupted training.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(255)
    y = torch.from_numpy(labels).to(device)
    flip = 0.0 if state.parent.name == "svhn" else 0.5
    epochs = 1 if options.smoke else options.teacher_epochs
    precision = torch.bfloat16 if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else torch.float32
    torch.manual_seed(options.seed)
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
        rng = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        for indices in torch.randperm(len(x), generator=rng)[: len(x) // batch * batch].split(batch):
            part = _crop(x[indices.to(device)], flip, rng)
            with computing_in(precision, device):
                scores = net(part)
            loss = F.cross_entropy(scores.float(), y[indices.to(device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        parts = {"net": net, "optimiser": optimiser, "schedule": schedule}
        torch.save({"epoch": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}, state)
    net.eval().cpu()


def _crop(x: Tensor, flip: float, rng: torch.Generator) -> Tensor:
    """A random crop after padding by four, the same for the whole batch, and random left-right flips.

    Args:
        flip: probability of a flip.
    """
    top, left = (int(n) for n in torch.randint(9, (2,), generator=rng))
    x = F.pad(x, (4, 4, 4, 4), mode="reflect")[..., top : top + 32, left : left + 32]
    flipped = torch.rand(len(x), generator=rng).to(x.device) < flip
    return torch.where(flipped.view(-1, 1, 1, 1), x.flip(3), x).contiguous(memory_format=torch.channels_last)


def measure(run: Run, options: argparse.Namespace) -> None:
    """Make a run unless its row exists; an interrupted run is resumed."""
    path = options.output / f"{run.name}.json"
    overrides = [*run.overrides, *options.overrides]
    recipe = resolved(run.recipe, overrides)
    if standing(path, recipe):
        return
    home = prepare(run.data, options)
    teacher = teacher_file(run.teacher, run.batch_norm, home, options)
    folder = options.output / run.name
    is_interrupted = folder.exists() and not path.exists()  # with a row, the run failed or had another recipe
    path.unlink(missing_ok=True)
    begin = time.perf_counter()
    try:
        result = compress(
            teacher,
            folder,
            recipe=run.recipe,
            overrides=overrides,
            student=run.student,
            seed=options.seed,
            input_range=(0, 1),
            eval_data=home / "test.npz",
            data=home / "train.npz" if run.real else None,
            resume=is_interrupted,
            overwrite=not is_interrupted,
            smoke=options.smoke,
        )
    except ZskdError as error:
        row: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
    else:
        assert result.accuracy is not None
        row = {"teacher": result.accuracy.teacher, "student": result.accuracy.student}
    row |= {"recipe": recipe, "teacher epochs": options.teacher_epochs, "commit": commit()}
    row["seconds of the last part"] = time.perf_counter() - begin
    path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


def print_table(runs: list[Run], folder: Path) -> None:
    """Print the finished runs of a folder."""
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
