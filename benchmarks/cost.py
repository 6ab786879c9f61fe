"""How the cost of impressions grows with the teacher, its input and its classes.

    OMP_NUM_THREADS=1 python benchmarks/cost.py

Networks with random weights are exported, and impressions are optimised for a few iterations with the settings of recipe ``zskd``
on one thread. One JSON line a network says how many processor seconds one iteration of one sample took, and what the model

    seconds = samples x iterations x multiply-adds x 3 / rate

gives for the rate of the network: the backward pass takes two multiply-adds where the forward pass takes one. The last
line has the median rate and its range.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from zskd_onnx import load_recipe, load_teacher
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.synthesis.impressions import Impressions

NETWORKS = [
    ("lenet5", (1, 32, 32), 10),
    ("lenet5", (1, 32, 32), 1000),
    ("cnn", (3, 32, 32), 10),
    ("resnet18", (3, 32, 32), 10),
    ("resnet18", (3, 32, 32), 1000),
    ("resnet18", (3, 64, 64), 10),
    ("resnet18", (3, 96, 96), 10),
    ("wrn-16-1", (3, 32, 32), 10),
    ("wrn-40-2", (3, 32, 32), 10),
]
"""Architecture, shape of a sample, classes."""

SECONDS, ITERATIONS = 6.0, 3


def main() -> None:
    torch.set_num_threads(1)
    rates = []
    for name, shape, classes in NETWORKS:
        row = measure(name, shape, classes)
        print(json.dumps(row), flush=True)
        rates.append(row["rate"])
    print(json.dumps({"median rate": round(statistics.median(rates), 2), "from": min(rates), "to": max(rates)}))


def measure(name: str, shape: tuple[int, ...], classes: int) -> dict[str, object]:
    """Processor seconds of an iteration of one sample, the median of repeated runs of a few iterations."""
    torch.manual_seed(0)
    net = STUDENTS[name].build(shape, classes).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.onnx"
        torch.onnx.export(
            net, (torch.zeros(1, *shape),), path, dynamic_axes={"x": {0: "n"}}, input_names=["x"], dynamo=False
        )
        teacher = load_teacher(path, input_range=(0, 1))
    settings = load_recipe("zskd").synthesis
    assert isinstance(settings, Impressions)
    batch = max(2, min(100, int(4e9 / teacher.cost.multiply_adds)))
    settings = settings.model_copy(update={"iterations": ITERATIONS, "batch_size": batch})
    targets = torch.full((batch, classes), 1 / classes)
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        begin = time.process_time()
        settings.make(teacher, targets, torch.Generator().manual_seed(0))
        times.append(time.process_time() - begin)
    seconds = statistics.median(times[1:]) / (batch * ITERATIONS)
    return {
        "network": name,
        "sample": list(shape),
        "classes": classes,
        "multiply_adds": teacher.cost.multiply_adds,
        "batch": batch,
        "microseconds": round(1e6 * seconds, 1),
        "rate": round(3 * teacher.cost.multiply_adds / seconds / 1e9, 2),
    }


if __name__ == "__main__":
    main()
