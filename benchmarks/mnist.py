"""MNIST, LeNet-5 to LeNet-5-Half: train a teacher, export it, compress it, and score the student.

    ZSKD_DATA=folder python benchmarks/mnist.py --seeds 3
    ZSKD_DATA=folder python benchmarks/mnist.py --exports

``--exports`` compresses one teacher from five files that different exporters wrote. ``--set``
changes any field of the recipe. The script prints a table, and writes it as JSON to ``--output``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import data_folder, mnist
from teachers import EXPORTS, train_teacher
from torch import nn

from zskd_onnx import compress, load_teacher
from zskd_onnx.events import Event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--recipe", default="zskd")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--exports", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/mnist"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    x_train, y_train, x_test, y_test = mnist(data_folder(options.data))
    np.savez(options.output / "test.npz", x=x_test, y=y_test)
    rows = []
    for seed in range(1 if options.exports else options.seeds):
        model = _teacher(options.output / f"teacher-{seed}.pt", x_train, y_train, seed)
        for name in EXPORTS if options.exports else ["default exporter"]:
            file = options.output / f"teacher-{seed}-{name.replace(', ', '-').replace(' ', '-')}.onnx"
            EXPORTS[name](model, file)
            row = {"seed": seed, "file": name, **_fidelity(model, file)}
            row |= _compress(file, options, seed)
            rows.append(row)
            print(json.dumps(row), flush=True)
    _report(rows, options)


def _teacher(path: Path, x: np.ndarray, y: np.ndarray, seed: int) -> nn.Module:
    """Train a teacher, or load the one from an earlier run."""
    if path.exists():
        return torch.load(path, weights_only=False)
    begin = time.perf_counter()
    model = train_teacher(x, y, seed)
    print(f"teacher {seed} trained in {time.perf_counter() - begin:.0f} s", flush=True)
    torch.save(model, path)
    return model


def _fidelity(model: nn.Module, file: Path) -> dict[str, float]:
    """Compare W and input gradients of the imported file with those of the torch model."""
    teacher = load_teacher(file)
    assert teacher.head is not None
    weight = model[-1].weight.detach()
    rng = torch.Generator().manual_seed(0)
    x = torch.rand((64, 1, 32, 32), generator=rng, requires_grad=True)
    direction = torch.randn((64, 10), generator=rng)
    (gradient,) = torch.autograd.grad((teacher.logits(x) * direction).sum(), x)
    (expected,) = torch.autograd.grad((model(x) * direction).sum(), x)
    cosine = torch.cosine_similarity(gradient.flatten(1), expected.flatten(1)).min()
    return {"weight difference": float((teacher.head.weight - weight).abs().max()), "gradient cosine": float(cosine)}


def _compress(file: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Compress a teacher's file, and return the figures of its row."""
    begin, cpu = time.perf_counter(), time.process_time()

    def listen(event: Event) -> None:
        if event.kind == "done":
            print(f"{time.perf_counter() - begin:7.0f} s  {event.stage}: {event.text}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            file,
            Path(folder) / "out",
            recipe=options.recipe,
            overrides=options.overrides,
            student="lenet5-half",
            seed=seed,
            input_range=(0, 1),
            eval_data=options.output / "test.npz",
            listener=listen,
        )
    assert result.accuracy is not None
    return {
        "teacher": result.accuracy.teacher,
        "student": result.accuracy.student,
        "agreement on impressions": result.agreement,
        "agreement on real digits": result.accuracy.agreement,
        "parity": result.parity.max_abs_difference,
        "seconds": time.perf_counter() - begin,
        "cpu seconds": time.process_time() - cpu,
    }


def _report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the rows as a table, and write them to a file."""
    students = [row["student"] for row in rows]
    summary = {
        "recipe": options.recipe,
        "overrides": options.overrides,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "mean": statistics.mean(students),
        "deviation": statistics.stdev(students) if len(students) > 1 else 0.0,
        "runs": rows,
    }
    name = "exports" if options.exports else options.recipe
    (options.output / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print("| file | seed | teacher | student | agreement | seconds |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['file']} | {row['seed']} | {100 * row['teacher']:.2f} | {100 * row['student']:.2f} "
            f"| {100 * row['agreement on real digits']:.2f} | {row['seconds']:.0f} |"
        )
    print(f"mean {100 * summary['mean']:.2f}, deviation {100 * summary['deviation']:.2f}")


if __name__ == "__main__":
    main()
