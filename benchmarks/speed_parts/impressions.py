"""Rows of impressions: optimised inputs of a teacher, beside a plain loop of Adam.

One iteration is the forward and backward pass of one sample through the teacher, with its step of Adam. The plain loop has
torch's defaults: contiguous layout, ``backward`` for all parameters, Adam without options. "the same work" optimises
every value, as the plain loop does. "grid of 3/8" optimises a coarser grid, as recipes do, and is a different problem.
The gap is the mean KL divergence from the targets to the teacher's outputs at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speed_parts.plain_nets import MEAN, STD, ResNet20, lenet5, weights_of
from speed_parts.rows import Loops, Options, Row, Work, in_turns

BATCH = 100
TEMPERATURE, RATE, L2 = 20.0, 1.0, 1e-3

LENET5, RESNET20 = "LeNet-5 at 1x32x32", "ResNet-20 at 3x32x32"
SHAPES = {"lenet5": (1, 32, 32), "resnet20": (3, 32, 32)}
ITERATIONS = {"lenet5": 50, "resnet20": 3}
"""Iterations of a round."""


def lenet5_rows(options: Options) -> Iterator[Row]:
    """Rows of LeNet-5 with random weights."""
    loops = {name: package_work("lenet5", options, share) for name, share in SHARES.items()}
    yield from in_turns(_loops("lenet5", LENET5, options, loops), options.rounds)


def resnet20_rows(options: Options) -> Iterator[Row]:
    """Rows of ResNet-20, with the weights of its file."""
    loops = {name: package_work("resnet20", options, share) for name, share in SHARES.items()}
    yield from in_turns(_loops("resnet20", RESNET20, options, loops), options.rounds)


SHARES = {"the same work": 1.0, "grid of 3/8": 0.375}
"""Loop of this package -> side of the grid on which it optimises, as a share of the image's."""


def plain_net(network: str, options: Options) -> nn.Module:
    """The teacher in plain torch."""
    if network == "lenet5":
        torch.manual_seed(0)
        return lenet5().eval()
    net = ResNet20().eval()
    net.load_state_dict(weights_of(options.resnet20_file()))
    return net


def teacher_file(network: str, options: Options) -> Path:
    """The same teacher as an ONNX file."""
    if network == "resnet20":
        return options.resnet20_file()
    path = options.folder / "lenet5.onnx"
    if not path.exists():
        from teachers import EXPORTS

        EXPORTS["legacy, opset 17"](plain_net(network, options), path)
    return path


def imported_options(network: str) -> dict[str, Any]:
    """What ``load_teacher`` and ``compress`` are to know of the file's inputs."""
    return {"input_range": (0, 1)} if network == "lenet5" else {"mean": MEAN, "std": STD}


def targets(seed: int = 0) -> Tensor:
    """Soft targets (BATCH, 10)."""
    return F.softmax(0.3 * torch.randn(BATCH, 10, generator=torch.Generator().manual_seed(seed)), 1)


def plain(net: nn.Module, shape: tuple[int, ...], iterations: int) -> Tensor:
    """Impressions by the plain loop."""
    wanted = targets()
    x = torch.randn(BATCH, *shape, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=RATE)
    for _ in range(iterations):
        optimiser.zero_grad()
        log_p = F.log_softmax(net(x) / TEMPERATURE, dim=1)
        loss = -(wanted * log_p).sum() + 0.5 * L2 * (x**2).sum()
        loss.backward()
        optimiser.step()
    return x.detach().clamp(0, 1)


def plain_work(network: str, options: Options) -> Work:
    """A round of the plain loop."""
    net = plain_net(network, options)
    return lambda: plain(net, SHAPES[network], ITERATIONS[network])


def package_work(network: str, options: Options, share: float = 1.0, iterations: int | None = None) -> Work:
    """A round of this package's loop."""
    from zskd_onnx import load_teacher
    from zskd_onnx.synthesis.impressions import Impressions

    settings = Impressions(
        batch_size=BATCH,
        iterations=iterations or ITERATIONS[network],
        learning_rate=RATE,
        temperature=TEMPERATURE,
        l2=L2,
        resolution=(share,),
    )
    teacher = load_teacher(teacher_file(network, options), **imported_options(network))
    wanted = targets()
    return lambda: settings.make(teacher, wanted, torch.Generator().manual_seed(0))


def gap(net: nn.Module) -> Callable[[Tensor], float]:
    """A function that measures the mean KL divergence from the targets to the net's outputs."""

    @torch.no_grad()
    def measure(x: Tensor) -> float:
        return float(F.kl_div(F.log_softmax(net(x) / TEMPERATURE, dim=1), targets(), reduction="batchmean"))

    return measure


def _loops(network: str, name: str, options: Options, package: dict[str, Work]) -> Loops:
    return Loops(
        f"an impression's iteration, {name}",
        "microseconds",
        1e6 / (BATCH * ITERATIONS[network]),
        plain_work(network, options),
        package,
        ("gap", gap(plain_net(network, options))),
    )
