"""Rows of the teacher's answers: logits of a batch without gradients, in torch and in onnxruntime, beside plain torch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from speed_parts.impressions import LENET5, RESNET20, SHAPES, imported_options, plain_net, teacher_file
from speed_parts.rows import Loops, Options, Row, Work, in_turns

BATCH = 128
BATCHES = {"lenet5": 20, "resnet20": 2}
"""Batches of a round."""


def lenet5_rows(options: Options) -> Iterator[Row]:
    """Rows of LeNet-5."""
    yield from in_turns(_loops("lenet5", LENET5, options), options.rounds)


def resnet20_rows(options: Options) -> Iterator[Row]:
    """Rows of ResNet-20."""
    yield from in_turns(_loops("resnet20", RESNET20, options), options.rounds)


def _loops(network: str, name: str, options: Options) -> Loops:
    from zskd_onnx import load_teacher
    from zskd_onnx.distillation import precision
    from zskd_onnx.system.onnx_runtime import run
    from zskd_onnx.teacher.parity import open_onnx_file

    net = plain_net(network, options)
    teacher = load_teacher(teacher_file(network, options), **imported_options(network))
    session = open_onnx_file(teacher.source, [teacher.output.name], exact_integers=False)
    x = torch.rand((BATCH, *SHAPES[network]), generator=torch.Generator().manual_seed(0))
    device = torch.device("cpu")

    def in_torch(number_type: torch.dtype) -> Tensor:
        with precision.computing_in(number_type, device):
            return teacher.logits(teacher.domain.to_file(x)).float()

    def in_onnxruntime() -> Tensor:
        return torch.from_numpy(run(session, teacher.domain.to_array(teacher.domain.to_file(x)))[0])

    def repeat(work: Work) -> Work:
        @torch.no_grad()
        def several() -> Tensor:
            for _ in range(BATCHES[network] - 1):
                work()
            return work()

        return several

    with torch.no_grad():
        expected = net(x)

    def error(logits: Tensor) -> float:
        return float((logits - expected).abs().max())

    package = {
        "torch, float32": repeat(lambda: in_torch(torch.float32)),
        "onnxruntime": repeat(in_onnxruntime),
    }
    if precision._has_bfloat16(device):
        package["torch, bfloat16"] = repeat(lambda: in_torch(torch.bfloat16))
    what = f"the teacher's logits of {BATCH} samples, {name}"
    plain = repeat(lambda: net(x))
    return Loops(what, "milliseconds", 1e3 / BATCHES[network], plain, package, ("largest difference", error))
