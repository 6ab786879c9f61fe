"""Soft targets of each prior, for one teacher of MNIST.

    ZSKD_DATA=folder python benchmarks/priors.py

The script prints how often the largest probability belongs to another class than the intended one
(Wang 2021: in 20 to 40 % of Dirichlet draws and in no normal draw), the largest probability as a
function of sigma (Wang, figure 2) and for real digits, and the similarity of the classes. It writes
plots to ``--output``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from data import data_folder
from matplotlib.figure import Figure
from papers import teacher_file

from zskd_onnx import load_teacher
from zskd_onnx.priors.base import Prior
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.priors.normal import Normal
from zskd_onnx.teacher.teacher import Teacher

DRAWS = 20_000
DEVIATIONS = (0.5, 1.5, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0)
TEMPERATURE = 20.0
SMALLEST = 1e-13
"""Smallest probability whose logarithm is taken; smaller ones are raised to it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="seed of the teacher")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/papers"))
    options = parser.parse_args()
    folder = options.output / "mnist"
    teacher = load_teacher(teacher_file("mnist", folder, data_folder(options.data), options.seed), input_range=(0, 1))
    mismatches(teacher)
    largest_probabilities(teacher, folder)
    similarity(teacher, folder)


def draw(prior: Prior, teacher: Teacher) -> torch.Tensor:
    """Soft targets (DRAWS, K) of a prior."""
    return prior.sampler(teacher)(0, DRAWS, torch.Generator().manual_seed(0))


def mismatches(teacher: Teacher) -> None:
    """Print how each prior's targets are distributed over classes."""
    classes = torch.arange(DRAWS) % teacher.classes
    priors: dict[str, Prior] = {
        "Dirichlet, beta 1 and 0.1": Dirichlet(),
        "Dirichlet, beta 1": Dirichlet(beta=(1.0,)),
        "Dirichlet, beta 0.1": Dirichlet(beta=(0.1,)),
        "Dirichlet, beta 4": Dirichlet(beta=(4.0,)),
        "Dirichlet, beta 4, floor 0.25": Dirichlet(beta=(4.0,), floor=0.25),
        "uniform Dirichlet, beta 1 and 0.1": Dirichlet(similarity=False),
        "normal at the penultimate layer": Normal(),
        "normal at the softmax": Normal(layer="softmax"),
    }
    print(
        "| prior | draws whose largest probability is at another class | mean largest probability "
        f"| share of rarest and most frequent class | median range of the logits at temperature {TEMPERATURE:g} |"
    )
    print("|---|---|---|---|---|")
    for name, prior in priors.items():
        y = draw(prior, teacher)
        mismatch = float((y.argmax(1) != classes).float().mean())
        shares = torch.bincount(y.argmax(1), minlength=teacher.classes) / DRAWS
        logit_range = TEMPERATURE * (y.amax(1) / y.amin(1).clamp_min(SMALLEST)).log()
        print(
            f"| {name} | {mismatch:.1%} | {float(y.amax(1).mean()):.3f} | {shares.min():.1%}, {shares.max():.1%} "
            f"| {float(logit_range.median()):.0f} |"
        )


@torch.no_grad()
def largest_probabilities(teacher: Teacher, folder: Path) -> None:
    """Print and plot the largest probability of normal targets against sigma, and of real digits."""
    with np.load(folder / "test.npz") as file:
        x = torch.from_numpy(file["x"]).float().div(255)[:, None]
    real = torch.cat([(teacher.logits(part) / TEMPERATURE).softmax(1).amax(1) for part in x.split(1000)])
    print(f"\nreal digits: mean largest probability at temperature {TEMPERATURE:g}: {real.mean():.3f}")
    print(
        f"sqrt(sigma) derived: {Normal().deviation(teacher):.2f}, at the softmax {Normal(layer='softmax').deviation(teacher):.2f}"
    )
    print("\n| sqrt(sigma) | penultimate layer | softmax |\n|---|---|---|")
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    curves = {}
    for layer in ("penultimate", "softmax"):
        peaks = [
            draw(Normal(layer=layer, sigma=deviation**2, balanced=False), teacher).amax(1) for deviation in DEVIATIONS
        ]
        curves[layer] = [float(p.mean()) for p in peaks]
        axes.errorbar(DEVIATIONS, curves[layer], [float(p.std()) for p in peaks], label=layer, capsize=3)
    for deviation, *means in zip(DEVIATIONS, *curves.values(), strict=True):
        print(f"| {deviation:g} | {means[0]:.3f} | {means[1]:.3f} |")
    axes.axhline(float(real.mean()), linestyle=":", color="black", label="real digits")
    axes.set(xlabel="sqrt(sigma)", ylabel=f"largest probability, temperature {TEMPERATURE:g}")
    axes.legend()
    figure.savefig(folder / "largest-probability.png", dpi=120)


def similarity(teacher: Teacher, folder: Path) -> None:
    """Print the most similar classes, and plot the cosine similarity of all class weights."""
    assert teacher.head is not None
    matrix = class_similarity(teacher.head.weight)
    off_diagonal = matrix.clone().fill_diagonal_(-2)
    first, second = divmod(int(off_diagonal.argmax()), len(matrix))
    print(f"\nmost similar classes: {first} and {second}, {float(off_diagonal.max()):.2f}")
    figure = Figure(figsize=(5, 4.2))
    axes = figure.add_subplot()
    figure.colorbar(axes.imshow(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1))
    axes.set(xlabel="class", ylabel="class", xticks=range(len(matrix)), yticks=range(len(matrix)))
    figure.savefig(folder / "similarity.png", dpi=120)


if __name__ == "__main__":
    main()
