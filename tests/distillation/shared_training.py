"""Train students with all processes that torchrun has started; rank 0 writes their weights to the file of the first argument."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.batches import Sources, StoredSamples
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.distillation.train import train
from zskd_onnx.events import silent
from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.system.process_group import process_group, working_alone
from zskd_onnx.system.ranks import ranks
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.outputs import TeacherView

BATCH = 31
"""An odd number, so that two processes have shares of different sizes."""


def trained(teacher: str, *, generated: bool) -> nn.Module:
    """A student with batch normalisation, after ten steps of plain gradient descent.

    Args:
        generated: whether its samples come from a generator that is trained beside it.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    inputs = torch.rand((310, 1, 8, 8), generator=torch.Generator().manual_seed(1)).half()
    settings = Distillation(
        epochs=1,
        batch_size=BATCH,
        optimiser="sgd",
        learning_rate=0.05,
        schedule="constant",
        augmentation=Augmentation(fraction=0.0 if generated else 0.8),
    )
    view = TeacherView(load_teacher(teacher))
    sources = Sources((StoredSamples("transfer_set", inputs, None, BATCH),))
    if generated:
        generator = GeneratorTraining(
            Adversarial(width=4, student_steps=2, replay=0),
            view.teacher,
            view,
            batch=BATCH,
            steps=4,
            seed=0,
            device=torch.device("cpu"),
        )
        sources = Sources((), generator=generator)
    train(net, sources, view, settings, 4 if generated else 10, 0, listener=silent)
    return net


if __name__ == "__main__":
    with process_group(torch.device("cpu")):
        if ranks().leads:
            with working_alone():  # as an estimate does
                trained(sys.argv[2], generated=False)
        students = [trained(sys.argv[2], generated=generated) for generated in (False, True)]
        if ranks().leads:
            torch.save([student.state_dict() for student in students], sys.argv[1])
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in names), names  # a thread of a group that lives on may abort the process
