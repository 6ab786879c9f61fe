"""Widths of a thinned teacher by the sensitivity of its groups, at the multiply-adds of the same share of each.

    python benchmarks/thin_sensitivity.py resnet20_cifar10_folded.onnx [--factor 0.5] [--seed 0]

Each group is thinned alone to several widths, by Optimal Brain Surgeon with re-fitting on procedural images. Its error is
the Kullback-Leibler divergence from the teacher's predictions on other such images. From the full widths on, the group
whose next step costs the least error for each multiply-add that it saves is thinned further, until the thinned teacher
has no more multiply-adds than ``thin:FACTOR``. The script prints the errors and the student's name, for ``thin_residual.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from thin_residual import MEAN, STD
from torch import Tensor

from zskd_onnx import Teacher, load_recipe, load_teacher
from zskd_onnx.students.thinned_student import ThinnedTeacher
from zskd_onnx.students.thinning.quantities import MultiplyAdds
from zskd_onnx.students.thinning.thin import teacher_groups
from zskd_onnx.students.thinning.widths import scaled_width, scaled_widths
from zskd_onnx.system.randomness import rng_for

FACTORS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
SAMPLES = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--factor", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    teacher = load_teacher(options.teacher, mean=MEAN, std=STD)
    groups = teacher_groups(teacher)
    full = {group.name: group.width for group in groups.groups}
    samples, judged = images(teacher, options.seed), images(teacher, options.seed + 1)
    errors: dict[str, list[float]] = {}
    for group in groups.groups:
        row = [0.0]
        for factor in FACTORS[1:]:
            widths = {**full, group.name: scaled_width(group, factor)}
            if widths == full:  # rounded up
                row.append(0.0)
                continue
            student, _ = ThinnedTeacher(teacher, groups, widths).build(samples, options.seed)
            row.append(divergence(teacher, student.eval(), judged))
        errors[group.name] = row
        print(group.name, group.width, *(f"{error:.4f}" for error in row), flush=True)
    cost = MultiplyAdds(teacher, groups)
    budget = cost.of(scaled_widths(groups.groups, options.factor))
    place = dict.fromkeys(full, 0)
    widths, now = full, cost.of(full)
    while now > budget:
        steps = []
        for group in groups.groups:
            i = place[group.name] + 1
            if i < len(FACTORS):
                narrower = {**widths, group.name: scaled_width(group, FACTORS[i])}
                saved = now - cost.of(narrower)
                steps.append(
                    ((errors[group.name][i] - errors[group.name][i - 1]) / max(saved, 1), group.name, narrower)
                )
        _, name, widths = min(steps, key=lambda step: step[0])
        place[name] += 1
        now = cost.of(widths)
    print(f"multiply-adds {now:,.0f}, of thin:{options.factor} {budget:,.0f}")
    print("thin:{" + ", ".join(f"{name}: {width}" for name, width in widths.items()) + "}")


def images(teacher: Teacher, seed: int) -> Tensor:
    """Procedural images as the recipe draws them for natural images."""
    procedural = load_recipe("procedural", ["procedural.natural_images=true"]).procedural
    assert procedural is not None
    return procedural.draw(SAMPLES, teacher.domain.shape, rng_for(seed, "sensitivity"))


@torch.no_grad()
def divergence(teacher: Teacher, student: torch.nn.Module, x: Tensor) -> float:
    """Mean Kullback-Leibler divergence of the student's predictions from the teacher's, nats."""
    expected = teacher.logits(teacher.domain.to_file(x)).log_softmax(1)
    return float(F.kl_div(student(x).log_softmax(1), expected, log_target=True, reduction="batchmean"))


if __name__ == "__main__":
    main()
