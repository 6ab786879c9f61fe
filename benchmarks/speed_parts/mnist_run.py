"""One MNIST run from a cold start, in a process of its own: ``compress``, or the plain loop.

    python -m speed_parts.mnist_run package teacher-0.onnx test.npz --init auto --begin SECONDS

Prints a JSON line for each validation, with the accuracy on the test images and the time until then, and a last line with the
peak memory. Seconds count from ``--begin``, when the parent started the process; processor seconds count from the start of the
process, imports included. The clock stands still during validations, because there are many more than a run needs. The run ends
when the student has reached the highest of ``TARGETS``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from speed_parts.rows import peak_megabytes

TARGETS = (0.97, 0.98, 0.988)

LOOPS = ("plain", "package")

BATCH, EPOCH_STEPS, PRUNING_BATCHES = 128, 375, 32

EVERY = {"auto": 10, "random": 100}
"""Initialisation of the student -> steps between two validations. One with the teacher's channels is good at once."""


class ReachedError(Exception):
    """The student has reached the highest target."""


class Clock:
    """Records accuracies and when they were reached; it stands still while students are validated."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.waited, self.waited_processor = 0.0, 0.0

    def validate(self, step: int, measure: Callable[[], float]) -> None:
        """Record the accuracy of a student after a step; raises ``ReachedError`` at the highest target."""
        now, processor = time.time(), time.process_time()
        row = {
            "step": step,
            "accuracy": round(measure(), 6),
            "seconds": now - self.begin - self.waited,
            "processor seconds": processor - self.waited_processor,
        }
        print(json.dumps(row), flush=True)
        self.waited += time.time() - now
        self.waited_processor += time.process_time() - processor
        if row["accuracy"] >= TARGETS[-1]:
            raise ReachedError


def overrides(options: argparse.Namespace) -> list[str]:
    """The changes of the recipe."""
    return [
        f"distillation.epochs={options.epochs}",
        f"distillation.validations={options.epochs * EPOCH_STEPS // EVERY[options.init]}",
        f"distillation.batch_size={BATCH}",
        f"distillation.epoch_samples={BATCH * EPOCH_STEPS}",
        f"init={options.init}",
        *(["distillation.loss_weights.features=0"] if options.init == "random" else []),
    ]


def package(options: argparse.Namespace, clock: Clock) -> None:
    """The run of ``compress``; a wrapper of its validations adds the clock."""
    from zskd_onnx import compress
    from zskd_onnx.distillation.selection import StudentSelection

    validate = StudentSelection.validate

    def timed(selection: StudentSelection, student: Any, step: int) -> dict[str, Any]:
        entries: list[dict[str, Any]] = []

        def measure() -> float:
            entries.append(validate(selection, student, step))
            return float(entries[0]["accuracy"])

        clock.validate(step, measure)
        return entries[0]

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(StudentSelection, "validate", timed),
        contextlib.suppress(ReachedError),
    ):
        compress(
            options.teacher,
            Path(folder) / "out",
            recipe="procedural",
            overrides=overrides(options),
            student="lenet5-half",
            seed=options.seed,
            input_range=(0, 1),
            eval_data=options.test,
        )


def plain(options: argparse.Namespace, clock: Clock) -> None:
    """The same method in a plain loop."""
    import numpy as np
    import torch
    from torch import Tensor, nn

    from speed_parts.plain_nets import lenet5, lenet5_half, scaled_error, soft_targets, weights_of
    from zskd_onnx import load_recipe, load_teacher
    from zskd_onnx.procedural.drawn_images import DrawnImages
    from zskd_onnx.students.pruning.inherit import inherit
    from zskd_onnx.system.randomness import rng_for

    recipe = load_recipe("procedural", overrides(options))
    settings = recipe.distillation
    assert recipe.procedural is not None
    images = DrawnImages(recipe.procedural, (1, 32, 32))

    def batch(purpose: str, number: int) -> Tensor:
        rng = rng_for(options.seed, purpose, number)
        x = images.draw(BATCH, rng)
        return settings.augmentation.of_all.apply(x, rng, intact=True).contiguous()

    with np.load(options.test) as file:
        x_test, y_test = torch.from_numpy(file["x"]), torch.from_numpy(file["y"])

    @torch.no_grad()
    def accuracy(net: nn.Module) -> float:
        parts = [net(part.view(-1, 1, 32, 32).float() / 255).argmax(1) for part in x_test.split(512)]
        return float((torch.cat(parts) == y_test).float().mean())

    torch.manual_seed(options.seed)
    teacher, student, features = lenet5().eval(), lenet5_half(), nn.Linear(84, 84)
    teacher.load_state_dict(weights_of(options.teacher))
    if options.init == "auto":
        samples = torch.cat([batch("inherit", number) for number in range(PRUNING_BATCHES)])
        inherit(student, load_teacher(options.teacher, input_range=(0, 1)), samples, rng_for(options.seed, "positions"))
    steps = settings.steps(0)
    optimiser = torch.optim.AdamW(
        [*student.parameters(), *features.parameters()], settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    interval = -(-steps // settings.validations)
    with contextlib.suppress(ReachedError):
        for step in range(1, steps + 1):
            x = batch("procedural", step - 1)
            with torch.no_grad():
                wanted = teacher[:-1](x)
                answers = teacher[-1](wanted)
            hidden = student[:-1](x)
            loss = soft_targets(student[-1](hidden), answers, settings.temperature)
            if options.init == "auto":
                loss = loss + settings.loss_weights.features * scaled_error(features(hidden), wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % interval == 0 or step == steps:
                clock.validate(step, partial(accuracy, student))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--begin", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--init", choices=EVERY, required=True)
    options = parser.parse_args()
    clock = Clock(options.begin)
    {"plain": plain, "package": package}[options.loop](options, clock)
    print(json.dumps({"peak": peak_megabytes()}))


if __name__ == "__main__":
    main()
