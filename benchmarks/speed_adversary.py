"""Speed of adversarial belief matching: this package beside a plain loop in torch.

    OMP_NUM_THREADS=1 python benchmarks/speed_adversary.py

One iteration is one generator step and ten student steps, LeNet-5 to LeNet-5-Half, in batches of
128 with the paper's generator at ``--width``. The plain loop generates the samples again in each
student step and back-propagates through generator and teacher, as a published implementation does.
Rounds alternate.
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
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.teacher.probes.outputs import TeacherView

BATCH, STUDENT_STEPS = 128, 10


def plain_generator(width: int) -> nn.Module:
    """The generator of table 3 in the replication of the paper."""
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
    """Mean KL divergence from the teacher's to the student's probabilities."""
    return F.kl_div(F.log_softmax(student(x), 1), F.softmax(teacher(x), 1), reduction="batchmean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = STUDENTS["lenet5"].build((1, 32, 32), 10).eval()
    with tempfile.TemporaryDirectory() as folder:
        EXPORTS["legacy, opset 17"](net, Path(folder) / "teacher.onnx")
        teacher = load_teacher(Path(folder) / "teacher.onnx", input_range=(0, 1))

    plain_student, generator = STUDENTS["lenet5-half"].build((1, 32, 32), 10), plain_generator(options.width)
    optimisers = [torch.optim.Adam(part.parameters()) for part in (plain_student, generator)]

    def plain() -> None:
        z = torch.randn(BATCH, 100)
        for sign, optimiser in ((-1, optimisers[1]), *((1, optimisers[0]),) * STUDENT_STEPS):
            for other in optimisers:
                other.zero_grad()
            (sign * divergence(net, plain_student, generator(z))).backward()
            optimiser.step()

    student = STUDENTS["lenet5-half"].build((1, 32, 32), 10).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(student.parameters(), fused=True)
    training = GeneratorTraining(
        Adversarial(width=options.width, student_steps=STUDENT_STEPS, replay=0),
        teacher,
        TeacherView(teacher),
        batch=BATCH,
        steps=STUDENT_STEPS * 1000,
        seed=0,
        device=torch.device("cpu"),
    )

    def package() -> None:
        for step in range(STUDENT_STEPS):
            x, outputs = training.batch(step, student)
            loss = soft_target_loss(student(x), outputs.logits, 1.0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    seconds: dict[str, list[float]] = {"plain": [], "zskd-onnx": []}
    for _ in range(options.rounds + 1):
        for name, iteration in (("plain", plain), ("zskd-onnx", package)):
            begin = time.perf_counter()
            iteration()
            seconds[name].append(time.perf_counter() - begin)
    print("| loop | milliseconds per iteration | plain loop relative to it |\n|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["plain"][1:], values[1:], strict=True))
        print(f"| {name} | {1000 * statistics.median(values[1:]):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
