"""How fast adversarial belief matching goes: the package against a loop that pays for G in every student step.

    OMP_NUM_THREADS=1 python benchmarks/speed_adversary.py

One iteration is a generator step and ten student steps, LeNet-5 to LeNet-5-Half, batches of 128, the
generator of the paper at ``--width``. The other loop regenerates x with gradients and back-propagates through
G and the teacher in each student step, as a public code does; it is otherwise plain torch. Rounds alternate.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from teachers import EXPORTS
from torch import Tensor, nn

from zskd_onnx import load_teacher
from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.losses import soft_target_loss
from zskd_onnx.students.zoo.registry import STUDENTS
from zskd_onnx.teacher.probes.outputs import Asking

BATCH, STUDENT_STEPS = 128, 10


def plain_generator(width: int) -> nn.Module:
    """Table 3 of the replication, layer by layer."""
    return nn.Sequential(
        *(
            nn.Linear(100, width * 64),
            nn.Unflatten(1, (width, 8, 8)),
            nn.BatchNorm2d(width),
            nn.Upsample(scale_factor=2),
        ),
        *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)),
        *(nn.Conv2d(width, width // 2, 3, padding=1), nn.BatchNorm2d(width // 2), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width // 2, 1, 3, padding=1), nn.BatchNorm2d(1), nn.Sigmoid()),
    )


def divergence(teacher: nn.Module, student: nn.Module, x: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(student(x), 1), F.softmax(teacher(x), 1), reduction="batchmean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = STUDENTS["lenet5"].build((1, 32, 32), 10).eval()
    with tempfile.TemporaryDirectory() as folder:
        EXPORTS["legacy, opset 17"](net, Path(folder) / "teacher.onnx")
        teacher = load_teacher(Path(folder) / "teacher.onnx", input_range=(0, 1))

    theirs, generator = STUDENTS["lenet5-half"].build((1, 32, 32), 10), plain_generator(given.width)
    optimisers = [torch.optim.Adam(part.parameters()) for part in (theirs, generator)]

    def plain() -> None:
        z = torch.randn(BATCH, 100)
        for sign, optimiser in ((-1, optimisers[1]), *((1, optimisers[0]),) * STUDENT_STEPS):
            for each in optimisers:
                each.zero_grad()
            (sign * divergence(net, theirs, generator(z))).backward()
            optimiser.step()

    ours = STUDENTS["lenet5-half"].build((1, 32, 32), 10).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(ours.parameters(), fused=True)
    training = GeneratorTraining(
        Adversarial(width=given.width, student_steps=STUDENT_STEPS),
        teacher,
        Asking(teacher),
        batch=BATCH,
        steps=STUDENT_STEPS * 1000,
        seed=0,
        device=torch.device("cpu"),
    )

    def package() -> None:
        for step in range(STUDENT_STEPS):
            x, answer = training.batch(step, ours)
            loss = soft_target_loss(ours(x), answer.logits, 1.0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    seconds: dict[str, list[float]] = {"plain": [], "zskd-onnx": []}
    for _ in range(given.rounds + 1):
        for name, iteration in (("plain", plain), ("zskd-onnx", package)):
            begin = time.perf_counter()
            iteration()
            seconds[name].append(time.perf_counter() - begin)
    print("| way | milliseconds an iteration | plain to this |\n|---|---|---|")
    for name, found in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["plain"][1:], found[1:], strict=True))
        print(f"| {name} | {1000 * statistics.median(found[1:]):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
