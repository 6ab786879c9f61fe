"""Row of adversarial belief matching: an iteration of this package beside one of a plain loop.

One iteration is a generator step and ten student steps, LeNet-5 to LeNet-5-Half, in batches of 128 with the paper's
generator of width 32. The plain loop generates the samples again in each student step and back-propagates through
generator and teacher, as a published implementation does.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speed_parts.impressions import plain_net, teacher_file
from speed_parts.plain_nets import lenet5_half
from speed_parts.rows import Loops, Options, Row, Work, in_turns

BATCH, STUDENT_STEPS, WIDTH = 128, 10, 32


def rows(options: Options) -> Iterator[Row]:
    """The row of an iteration."""
    what = f"an iteration of adversarial belief matching, LeNet-5, width {WIDTH}"
    loops = Loops(what, "milliseconds", 1e3, plain_work(options), {"float32": package_work(options)})
    yield from in_turns(loops, options.rounds)


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


def plain_work(options: Options) -> Work:
    """An iteration of the plain loop."""
    teacher, student, generator = plain_net("lenet5", options), lenet5_half(), plain_generator(WIDTH)
    optimisers = [torch.optim.Adam(part.parameters()) for part in (student, generator)]

    def iteration() -> None:
        z = torch.randn(BATCH, 100)
        for sign, optimiser in ((-1, optimisers[1]), *((1, optimisers[0]),) * STUDENT_STEPS):
            for other in optimisers:
                other.zero_grad()
            (sign * divergence(teacher, student, generator(z))).backward()
            optimiser.step()

    return iteration


def package_work(options: Options) -> Work:
    """An iteration of this package."""
    from zskd_onnx import load_teacher
    from zskd_onnx.generators.adversarial import Adversarial
    from zskd_onnx.generators.train import GeneratorTraining
    from zskd_onnx.losses import soft_target_loss
    from zskd_onnx.teacher.probes.outputs import TeacherView

    teacher = load_teacher(teacher_file("lenet5", options), input_range=(0, 1))
    student = lenet5_half().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(student.parameters(), fused=True)
    training = GeneratorTraining(
        Adversarial(width=WIDTH, student_steps=STUDENT_STEPS, replay=0),
        teacher,
        TeacherView(teacher),
        batch=BATCH,
        steps=STUDENT_STEPS * 1000,
        seed=0,
        device=torch.device("cpu"),
    )

    def iteration() -> None:
        for step in range(STUDENT_STEPS):
            x, outputs = training.batch(step, student)
            loss = soft_target_loss(student(x), outputs.logits, 1.0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return iteration
