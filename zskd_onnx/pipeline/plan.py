"""Everything that is settled before a run starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from zskd_onnx.config.default import DEFAULT_RECIPE
from zskd_onnx.config.files import recipe_names
from zskd_onnx.config.recipe import Recipe, load_recipe
from zskd_onnx.data.npz import EvaluationData, read_evaluation_data
from zskd_onnx.data.real_samples import RealSamples, read_real_samples
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.errors import UsageError, ZskdError
from zskd_onnx.export.export import deliver
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.losses import soft_target_loss
from zskd_onnx.students.choose import Choice, build, choose
from zskd_onnx.students.describe import parameters
from zskd_onnx.students.pruning.inherit import deviates, inherits
from zskd_onnx.system.devices import choose_device
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.load import TeacherOptions, load_teacher
from zskd_onnx.teacher.probes.outputs import Asking
from zskd_onnx.teacher.teacher import Teacher

TRIED = 8
"""Samples on which a student of the user's is compared by two runtimes before it is trained."""


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: everything is resolved and checked, nothing is trained.

    Attributes:
        teacher: imported, and proved against onnxruntime.
        recipe: with all overrides and options, the student too unless it is the user's own module.
        choice: the student's architecture and why.
        student: with fresh weights; where it inherits, ``learn`` gives it the teacher's.
        inherits: whether it starts from the teacher's channels.
        device: where it will run.
        evaluation: real samples to score on, or None.
        data: real samples to train on, or None.
        notes: what was assumed or chosen.
    """

    teacher: Teacher
    recipe: Recipe
    choice: Choice
    student: nn.Module
    inherits: bool
    device: torch.device
    evaluation: EvaluationData | None
    data: RealSamples | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON; the recipe with every field."""
        return {
            "teacher": {"path": str(self.teacher.source.path), "sha256": self.teacher.source.sha256},
            "student": {
                "name": self.choice.name,
                "why": self.choice.why,
                "parameters": parameters(self.student),
            },
            "device": str(self.device),
            "notes": list(self.notes),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def recipe_yaml(self) -> str:
        """The recipe as a file that repeats the run; a comment says what a recipe cannot name."""
        if self.recipe.student == self.choice.name:
            return self.recipe.to_yaml()
        return f"# A recipe cannot name code: give --student {self.choice.name!r} again.\n{self.recipe.to_yaml()}"

    def estimate(self) -> dict[str, float]:
        """Seconds that synthesis and distillation will take, from timing a few passes of each; see ``at_most``."""
        recipe, teacher = self.recipe, self.teacher.to(self.device)
        student = self.student.to(self.device)
        generator = generator_for(recipe.seed, "estimate", device=self.device)

        def batch(size: int) -> torch.Tensor:
            return torch.rand((size, *teacher.domain.shape), generator=generator, device=self.device)

        def synthesis() -> None:
            x = made.requires_grad_()
            torch.autograd.grad(teacher.logits(teacher.domain.to_file(x)).sum(), x)

        def distillation(settings: Distillation, seen: torch.Tensor) -> None:
            x = settings.augmentation.apply(seen, generator)
            with torch.no_grad():
                soft = teacher.logits(teacher.domain.to_file(x)).float()
            soft_target_loss(student(x), soft, settings.temperature).backward()

        found, stored = {}, 0 if self.data is None else len(self.data.inputs)
        if recipe.synthesis is not None:
            made = batch(recipe.synthesis.effective_batch_size)
            passes = -(-(recipe.synthesis.count + recipe.held_out) // recipe.synthesis.effective_batch_size)
            found["synthesis"] = round(passes * recipe.synthesis.passes * _seconds(synthesis), 1)
            stored += recipe.synthesis.count
        for stage, settings in (("distillation", recipe.distillation), ("fine-tuning", recipe.fine_tuning)):
            if settings is not None:
                seen = batch(settings.batch_size)
                seconds = _seconds(partial(distillation, settings, seen)) + self._generator_seconds(settings)
                found[stage] = round(settings.steps(stored) * seconds, 1)
        if recipe.synthesis is not None:
            # The students between rounds learn from 1/n, 2/n, ... of the set.
            between = (recipe.synthesis.rounds - 1) / 2
            found["synthesis"] += between * sum(found.get(stage, 0.0) for stage in ("distillation", "fine-tuning"))
        return found

    @property
    def at_most(self) -> tuple[str, ...]:
        """Stages whose estimate is a bound: samples may be done before, or patience end the training."""
        recipe = self.recipe
        stages = {"distillation": recipe.distillation, "fine-tuning": recipe.fine_tuning}
        patient = [name for name, stage in stages.items() if stage is not None and stage.patience is not None]
        synthesis = recipe.synthesis
        if synthesis is not None and (synthesis.ends_early or (synthesis.rounds > 1 and patient)):
            return ("synthesis", *patient)
        return tuple(patient)

    def _generator_seconds(self, settings: Distillation) -> float:
        """What a generator adds to each step of the student."""
        recipe = self.recipe
        size = settings.shares(recipe.sources(self.data is not None)).get("generator", 0)
        if recipe.generator is None or not size:
            return 0.0
        training = GeneratorTraining(
            recipe.generator,
            self.teacher,
            Asking(self.teacher),
            batch=size,
            steps=recipe.generator.student_steps,
            seed=recipe.seed,
            device=self.device,
        )

        def iteration() -> None:
            for step in range(training.settings.student_steps):
                training.batch(step, self.student)

        return _seconds(iteration) / training.settings.student_steps


def prepare(
    teacher: str | Path,
    *,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    overrides: Iterable[str] = (),
    student: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: str | Path | None = None,
    data: str | Path | None = None,
    init: str | None = None,
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
    if init is not None:
        resolved = _with_init(resolved, init)
    place = choose_device(device)
    loaded = load_teacher(teacher, **teacher_options)
    resolved.check(loaded)
    domain = loaded.domain
    resolved = resolved.fitted(loaded, place)
    choice = choose(student or resolved.student, domain.shape, loaded.parameters_count)
    module = build(choice, domain.shape, loaded.classes, resolved.seed)
    if ":" in choice.name:
        _check_delivery(module, loaded, choice.name, resolved.deployment.opset)
    else:
        resolved = resolved.model_copy(update={"student": choice.name})
    inherits, resolved, started = _start(module, resolved, loaded, choice.name)
    samples = _real_samples(resolved, loaded, data)
    _check_mixtures(resolved, data=samples is not None)
    if resolved.deployment.min_accuracy and eval_data is None:
        raise UsageError("deployment.min_accuracy is set, but there is nothing to score on; give --eval-data")
    evaluation = None if eval_data is None else read_evaluation_data(Path(eval_data), domain, loaded.classes)
    low, high = min(domain.low), max(domain.high)
    notes = [
        f"input '{domain.name}': {domain.layout} {domain.file_shape(1)[1:]}, values {low:g} to {high:g} "
        f"(range: {domain.range_source}; layout: {domain.layout_source})",
        f"student {choice.name}: {choice.why}; {started}",
    ]
    if samples is not None:
        notes.append(f"{len(samples.inputs):,} real samples are trained on")
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
    undecided, resolved = list(resolved.undecided), resolved.decided(loaded)  # which asks the teacher: last of all
    for stage in undecided:
        photographs = resolved.stages[stage].augmentation.photographs
        if photographs is not None:
            what, otherwise = ("photographs", "false") if photographs else ("drawings", "true")
            notes.append(
                f"{stage}: images are taken for {what}, as far as the teacher tells; where they are not, "
                f"--set {stage}.augmentation.photographs={otherwise}"
            )
    return Plan(loaded, resolved, choice, module, inherits, place, evaluation, samples, tuple(notes))


def _check_delivery(student: nn.Module, teacher: Teacher, name: str, opset: int) -> None:
    """Raise UsageError where a student of the user's cannot take the teacher's place; better now than after its training."""
    unit = torch.rand((TRIED, *teacher.domain.shape), generator=generator_for(0, "delivery"))
    try:
        deliver(student, teacher, opset, unit)
    except ZskdError as error:
        raise UsageError(f"student {name}: {error}") from error


def _with_init(recipe: Recipe, init: str) -> Recipe:
    if init not in ("fresh", "inherit", "auto"):
        raise UsageError(f"init '{init}': expected fresh, inherit or auto")
    return recipe.model_copy(update={"init": init})


def _start(student: nn.Module, recipe: Recipe, teacher: Teacher, name: str) -> tuple[bool, Recipe, str]:
    """How the student is to start.

    Returns:
        Whether it inherits, the recipe, and the same in words. Hints go with inheriting where that is left to the program: they
        help a student whose features come from the teacher's, and cost a small one that starts fresh about a point.

    Raises:
        UsageError: it is to inherit, and has not the teacher's topology.
    """
    if recipe.init == "fresh":
        return False, recipe, "it starts fresh"
    reason = inherits(student, teacher)
    if reason is None and recipe.init == "auto":
        reason = deviates(student, teacher)
    if reason is None:
        return True, recipe, "it inherits the teacher's channels"
    if recipe.init == "inherit":
        raise UsageError(f"student {name} cannot inherit from this teacher: {reason}; take --init fresh")
    hinted = {key: stage for key, stage in recipe.stages.items() if stage.hints}
    plain = {key: stage.model_copy(update={"hints": 0.0}) for key, stage in hinted.items()}
    without = ", and without hints" if hinted else ""
    return False, recipe.model_copy(update=plain), f"it starts fresh{without}, for it cannot inherit ({reason})"


def _real_samples(recipe: Recipe, teacher: Teacher, data: str | Path | None) -> RealSamples | None:
    if data is not None:
        return read_real_samples(Path(data), teacher, recipe.data.per_class, recipe.seed)
    if "data" in recipe.requires:
        raise UsageError(
            f"recipe '{recipe.name}' trains on real samples; give some with --data FILE.npz, or take a recipe that "
            f"needs none: {', '.join(name for name in recipe_names() if 'data' not in load_recipe(name).requires)}"
        )
    return None


def _check_mixtures(recipe: Recipe, *, data: bool) -> None:
    """Raise UsageError where the batches of a stage would have no source at all."""
    there = recipe.sources(data)
    for stage, settings in recipe.stages.items():
        if not settings.mixture or set(settings.mixture) & set(there):
            continue
        give = ", or give real samples with --data FILE.npz" if "data" in settings.mixture else ""
        raise UsageError(
            f"{stage}.mixture names {', '.join(settings.mixture)}, and the samples of this run come from {', '.join(there)} alone; "
            f"name one of these, such as --set '{stage}.mixture={{{there[0]}: 1}}'{give}"
        )


def _seconds(work: Callable[[], None]) -> float:
    """Median time of a few calls, after one that warms up."""
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return sorted(times[1:])[2]
