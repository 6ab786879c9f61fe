"""Everything that is settled before a run starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from zskd_onnx import students
from zskd_onnx.deployment import EvaluationData, read_evaluation_data
from zskd_onnx.distillation import soft_target_loss
from zskd_onnx.errors import UsageError
from zskd_onnx.randomness import generator_for
from zskd_onnx.recipe import Recipe, load_recipe
from zskd_onnx.teacher import Teacher, TeacherOptions, load_teacher


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: everything is resolved and checked, nothing is trained.

    Attributes:
        teacher: imported, and proved against onnxruntime.
        recipe: with all overrides.
        choice: the student's architecture and why.
        student: with its starting weights.
        device: where it will run.
        evaluation: real samples to score on, or None.
        notes: what was assumed or chosen.
    """

    teacher: Teacher
    recipe: Recipe
    choice: students.Choice
    student: nn.Module
    device: torch.device
    evaluation: EvaluationData | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON; the recipe with every field."""
        return {
            "teacher": {"path": str(self.teacher.source.path), "sha256": self.teacher.source.sha256},
            "student": {
                "name": self.choice.name,
                "why": self.choice.why,
                "parameters": students.parameters(self.student),
            },
            "device": str(self.device),
            "notes": list(self.notes),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def estimate(self) -> dict[str, float]:
        """Seconds that synthesis and distillation will take, from timing a few passes of each."""
        recipe, teacher = self.recipe, self.teacher.to(self.device)
        student = self.student.to(self.device)
        generator = generator_for(recipe.seed, "estimate", device=self.device)

        def batch(size: int) -> torch.Tensor:
            return torch.rand((size, *teacher.domain.shape), generator=generator, device=self.device)

        def synthesis() -> None:
            x = made.requires_grad_()
            torch.autograd.grad(teacher.logits(teacher.domain.to_file(x)).sum(), x)

        def distillation() -> None:
            x = recipe.distillation.augmentation.apply(seen, generator)
            with torch.no_grad():
                soft = teacher.logits(teacher.domain.to_file(x)).float()
            soft_target_loss(student(x), soft, recipe.distillation.temperature).backward()

        samples = recipe.synthesis.count + recipe.held_out
        made, seen = batch(recipe.synthesis.batch_size), batch(recipe.distillation.batch_size)
        passes = -(-samples // recipe.synthesis.batch_size) * recipe.synthesis.passes
        return {
            "synthesis": round(passes * _seconds(synthesis), 1),
            "distillation": round(recipe.distillation.steps(recipe.synthesis.count) * _seconds(distillation), 1),
        }


def prepare(
    teacher: str | Path,
    *,
    recipe: str | Path | Recipe = "zskd",
    overrides: Iterable[str] = (),
    student: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: str | Path | None = None,
    **teacher_options: Unpack[TeacherOptions],
) -> Plan:
    """Resolve and check everything that a run needs; see ``compress`` for the arguments."""
    overrides = tuple(overrides)
    if isinstance(recipe, Recipe) and overrides:
        raise UsageError("overrides change a recipe given by name or file; change a Recipe with model_copy(update=...)")
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise UsageError(f"seed {seed}: expected 0 to 2^63 - 1")
        resolved = resolved.model_copy(update={"seed": seed})
    place = _device(device)
    loaded = load_teacher(teacher, **teacher_options)
    resolved.check(loaded)
    domain = loaded.domain
    choice = students.choose(student or resolved.student, domain.shape, loaded.parameters_count)
    module = students.build(choice, domain.shape, loaded.classes, resolved.seed)
    evaluation = None if eval_data is None else read_evaluation_data(Path(eval_data), domain, loaded.classes)
    low, high = min(domain.low), max(domain.high)
    notes = [
        f"input '{domain.name}': {domain.layout} {domain.file_shape(1)[1:]}, values {low:g} to {high:g} "
        f"(range: {domain.range_source}; layout: {domain.layout_source})",
        f"student {choice.name}: {choice.why}",
    ]
    if loaded.batch is not None:
        notes.append(
            f"the graph runs at batch size {loaded.batch} alone, so everything is asked of it in pieces of that size; "
            "export the teacher with a free batch size if that is slow"
        )
    unnamed = {value.name for value in loaded.source.proto.graph.output} - {
        loaded.output.name,
        *(label.name for label in loaded.labels),
    }
    if unnamed:
        notes.append(f"outputs that the student will not have: {', '.join(sorted(unnamed))}")
    if domain.assumed:
        notes.append(
            "the input range is only assumed: if the teacher was trained on another one the student will be useless; say it with --input-range"
        )
    return Plan(loaded, resolved, choice, module, place, evaluation, tuple(notes))


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device '{name}': expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda': no CUDA device answers; use --device cpu (zskd-onnx doctor shows what is there)"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _seconds(work: Callable[[], None]) -> float:
    """Median time of a few calls, after one that warms up."""
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return sorted(times[1:])[2]
