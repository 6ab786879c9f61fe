"""MNIST, LeNet-5 to LeNet-5-Half: train a teacher, export it, compress it, score the student.

    ZSKD_DATA=folder python benchmarks/mnist.py --seeds 3
    ZSKD_DATA=folder python benchmarks/mnist.py --exports

``--exports`` compresses one teacher from five different files. ``--set`` reaches the recipe, so
any field can be tried. Prints a table and writes it as JSON to ``--output``.
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
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)

    x_train, y_train, x_test, y_test = mnist(data_folder(given.data))
    np.savez(given.output / "test.npz", x=x_test, y=y_test)
    rows = []
    for seed in range(1 if given.exports else given.seeds):
        model = _teacher(given.output / f"teacher-{seed}.pt", x_train, y_train, seed)
        for name in EXPORTS if given.exports else ["default exporter"]:
            file = given.output / f"teacher-{seed}-{name.replace(', ', '-').replace(' ', '-')}.onnx"
            EXPORTS[name](model, file)
            row = {"seed": seed, "file": name, **_fidelity(model, file)}
            row |= _compress(file, given, seed)
            rows.append(row)
            print(json.dumps(row), flush=True)
    _report(rows, given)


def _teacher(path: Path, x: np.ndarray, y: np.ndarray, seed: int) -> nn.Module:
    """Train, or load what an earlier run trained."""
    if path.exists():
        return torch.load(path, weights_only=False)
    begin = time.perf_counter()
    model = train_teacher(x, y, seed)
    print(f"teacher {seed} trained in {time.perf_counter() - begin:.0f} s", flush=True)
    torch.save(model, path)
    return model


def _fidelity(model: nn.Module, file: Path) -> dict[str, float]:
    """How far W and the input gradient of the import are from the torch model's."""
    teacher = load_teacher(file)
    assert teacher.head is not None
    weight = model[-1].weight.detach()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((64, 1, 32, 32), generator=generator, requires_grad=True)
    direction = torch.randn((64, 10), generator=generator)
    (ours,) = torch.autograd.grad((teacher.logits(x) * direction).sum(), x)
    (theirs,) = torch.autograd.grad((model(x) * direction).sum(), x)
    cosine = torch.cosine_similarity(ours.flatten(1), theirs.flatten(1)).min()
    return {"weight difference": float((teacher.head.weight - weight).abs().max()), "gradient cosine": float(cosine)}


def _compress(file: Path, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    begin, cpu = time.perf_counter(), time.process_time()

    def listen(event: Event) -> None:
        if event.kind == "done":
            print(f"{time.perf_counter() - begin:7.0f} s  {event.stage}: {event.text}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        result = compress(
            file,
            Path(folder) / "out",
            recipe=given.recipe,
            overrides=given.overrides,
            student="lenet5-half",
            seed=seed,
            input_range=(0, 1),
            eval_data=given.output / "test.npz",
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


def _report(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    students = [row["student"] for row in rows]
    summary = {
        "recipe": given.recipe,
        "overrides": given.overrides,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "mean": statistics.mean(students),
        "deviation": statistics.stdev(students) if len(students) > 1 else 0.0,
        "runs": rows,
    }
    name = "exports" if given.exports else given.recipe
    (given.output / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print("| file | seed | teacher | student | agreement | seconds |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['file']} | {row['seed']} | {100 * row['teacher']:.2f} | {100 * row['student']:.2f} "
            f"| {100 * row['agreement on real digits']:.2f} | {row['seconds']:.0f} |"
        )
    print(f"mean {100 * summary['mean']:.2f}, deviation {100 * summary['deviation']:.2f}")


if __name__ == "__main__":
    main()
