"""Speed of synthesis: data impressions of this package beside a plain loop in torch.

    OMP_NUM_THREADS=1 python benchmarks/speed.py                # LeNet-5 with random weights
    OMP_NUM_THREADS=1 python benchmarks/speed.py --data folder  # trained on MNIST first

One impression-iteration is the forward and backward pass of one sample through LeNet-5 at 32x32,
with its step of Adam. All loops run batches of 100 on one thread. Rounds alternate, so that other
load on the machine affects all loops; the ratio is the median of the rounds' ratios. The gap is the
mean KL divergence from the targets to the teacher's outputs at the end. All loops but the last do
the same work, so their gaps are about equal.

At first, glibc returns large buffers to the system after every use, which slows the plain loop most.
Training with --data ends this. So do these environment variables; report both ratios:

    MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=536870912 MALLOC_TOP_PAD_=268435456
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from data import mnist
from teachers import EXPORTS, train_teacher
from torch import Tensor, nn

from zskd_onnx import load_teacher
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.synthesis.impressions import Impressions

BATCH = 100
SETTINGS = Impressions(batch_size=BATCH)


def plain(net: nn.Module, targets: Tensor, iterations: int) -> Tensor:
    """Impressions by a loop with torch's defaults: contiguous layout, ``backward`` for all parameters."""
    x = torch.randn(len(targets), 1, 32, 32, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=SETTINGS.learning_rate)
    for _ in range(iterations):
        optimiser.zero_grad()
        log_p = F.log_softmax(net(x) / SETTINGS.temperature, dim=1)
        loss = -(targets * log_p).sum() + 0.5 * SETTINGS.l2 * (x**2).sum()
        loss.backward()
        optimiser.step()
    return x.detach().clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with mnist.npz, to train the teacher first")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--iterations", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    net = _lenet5(options.data)
    with tempfile.TemporaryDirectory() as folder:
        EXPORTS["legacy, opset 17"](net, Path(folder) / "teacher.onnx")
        teacher = load_teacher(Path(folder) / "teacher.onnx", input_range=(0, 1))
    channels_last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    targets = Dirichlet().sampler(teacher)(0, BATCH, torch.Generator().manual_seed(0))

    def impressions(resolution: tuple[float, ...]) -> Callable[[], Tensor]:
        settings = SETTINGS.model_copy(update={"iterations": options.iterations, "resolution": resolution})
        return lambda: settings.make(teacher, targets, torch.Generator().manual_seed(0))

    loops = {
        "plain loop": lambda: plain(net, targets, options.iterations),
        "plain loop, weights channels last": lambda: plain(channels_last, targets, options.iterations),
        "zskd-onnx, the same work": impressions((1.0,)),
        "zskd-onnx, grid of 3/8": impressions((0.375,)),
    }
    rates: dict[str, list[float]] = {name: [] for name in loops}
    gaps: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, make in loops.items():
            begin = time.perf_counter()
            x = make()
            rates[name].append(BATCH * options.iterations / (time.perf_counter() - begin))
            with torch.no_grad():
                log_p = F.log_softmax(net(x) / SETTINGS.temperature, dim=1)
            gaps[name] = float(F.kl_div(log_p, targets, reduction="batchmean"))

    print(
        "| loop | impression-iterations per second | best | relative to the plain loop | gap |\n|---|---|---|---|---|"
    )
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, rates["plain loop"], strict=True))
        print(f"| {name} | {statistics.median(values):,.0f} | {max(values):,.0f} | {ratio:.2f} | {gaps[name]:.3f} |")


def _lenet5(data: Path | None) -> nn.Module:
    """LeNet-5 with random weights, or trained on MNIST for three epochs."""
    torch.manual_seed(0)
    net = STUDENTS["lenet5"].build((1, 32, 32), 10).eval()
    if data is not None:
        x, y, _, _ = mnist(data)
        # Training stores weights channels last. The copy keeps torch's default layout for the plain loop.
        net.load_state_dict(train_teacher(x, y, seed=0, epochs=3).state_dict())
    return net


if __name__ == "__main__":
    main()
