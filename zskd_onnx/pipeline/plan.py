"""The plan of a run: everything that is settled before it starts, as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from zskd_onnx.config.files import DEFAULT_RECIPE, recipe_names
from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.override_texts import Overrides, override_texts
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.npz import EvaluationData, read_evaluation_data
from zskd_onnx.data.real_samples import RealSamples, read_real_samples
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.choose_recipe import chosen_recipe, default_recipe
from zskd_onnx.pipeline.judge_real_data import judge_real_data
from zskd_onnx.pipeline.resolve import check_requirements, resolve
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.procedural.own_pictures import read_pictures
from zskd_onnx.students.choose import Choice
from zskd_onnx.students.own_files import is_onnx_file
from zskd_onnx.students.thinning.fit_target import fit_target
from zskd_onnx.students.thinning.target import requested_target
from zskd_onnx.system.devices import choose_device
from zskd_onnx.teacher.load import TeacherOptions, load_teacher
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: everything is resolved and checked, nothing is trained.

    Attributes:
        teacher: imported, and compared with onnxruntime.
        recipe: with all overrides, options and decisions, and the student unless it is the user's own module.
        choice: architecture of the student, and why.
        parameters: number of the student's weights.
        multiply_adds: of the student, for one sample.
        pruned: whether the student starts from the teacher's channels.
        device: where the run takes place.
        evaluation: real samples to score on, or None.
        data: real samples to train on, or None.
        images: images that the run draws, or None.
        notes: what was assumed or decided.
        smoke_of: the recipe of a smoke run, whose ``recipe`` has toy sizes; None for any other run.
        most_samples: largest number of samples that a smoke run measures anything on; None for no limit.
        by_norm: whether a thinned student gets the channels with the largest weights, which takes no time.
    """

    teacher: Teacher
    recipe: Recipe
    choice: Choice
    parameters: int
    multiply_adds: int
    pruned: bool
    device: torch.device
    evaluation: EvaluationData | None
    data: RealSamples | None
    images: DrawnImages | None
    notes: tuple[str, ...]
    smoke_of: Recipe | None = None
    most_samples: int | None = None
    by_norm: bool = False

    def at_most(self, count: int) -> int:
        """The number of samples to measure something on, where a run takes ``count``."""
        return count if self.most_samples is None else min(count, self.most_samples)

    def __repr__(self) -> str:
        return (
            f"Plan({self.teacher.source.path.name} -> {self.choice.name}, {self.parameters:,} parameters, recipe "
            f"'{self.recipe.name}', {self.device})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON; the recipe with every field."""
        return {
            "teacher": {"path": str(self.teacher.source.path), "sha256": self.teacher.source.sha256},
            "student": {
                "name": self.choice.name,
                "why": self.choice.why,
                "parameters": self.parameters,
                "multiply_adds": self.multiply_adds,
            },
            "device": str(self.device),
            "notes": list(self.notes),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def recipe_yaml(self) -> str:
        """The recipe as a file that repeats the run; a comment says what a recipe cannot name."""
        if self.recipe.student == self.choice.name:
            return self.recipe.to_yaml()
        what = "a file" if is_onnx_file(self.choice.name) else "code"
        return f"# A recipe cannot name {what}: give --student {self.choice.name!r} again.\n{self.recipe.to_yaml()}"


def prepare(
    teacher: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    overrides: Overrides = (),
    student: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: str | Path | None = None,
    data: str | Path | None = None,
    pictures: str | Path | None = None,
    init: str | None = None,
    target_params: str | float | None = None,
    target_macs: str | float | None = None,
    target_size: str | float | None = None,
    target_latency: str | None = None,
    **teacher_options: Unpack[TeacherOptions],
) -> Plan:
    """The plan of a run; nothing is trained. See ``compress`` for the arguments and errors."""
    options = (tuple(override_texts(overrides)), seed, init)
    target = requested_target(
        student,
        target_params=target_params,
        target_macs=target_macs,
        target_size=target_size,
        target_latency=target_latency,
    )
    chosen = chosen_recipe(DEFAULT_RECIPE if recipe is None else recipe, *options)
    place = choose_device(device)
    loaded = load_teacher(teacher, **teacher_options)
    reasons: list[str] = []
    if recipe is None:
        chosen, reasons = default_recipe(loaded, *options)
    check_requirements(chosen, loaded)
    samples = _real_samples(chosen, loaded, data)
    needy = chosen.deployment.gates.need_labels
    if needy and eval_data is None:
        raise UsageError(f"deployment.{needy[0]} needs samples to score on; give --eval-data FILE.npz")
    evaluation = None
    if eval_data is not None:
        evaluation = read_evaluation_data(Path(eval_data), loaded.domain, loaded.classes, loaded.class_names)
    trade = []
    if target is not None:
        fit = fit_target(loaded, target)
        student, trade = fit.student, [fit.trade]
    resolution = resolve(chosen, loaded, place, student, data=samples is not None)
    notes = [_input_note(loaded), *reasons, *trade, *resolution.notes]
    if samples is not None:
        notes.append(f"{len(samples.inputs):,} real samples are trained on")
    images = _drawn_images(resolution.recipe, loaded, pictures)
    if images is not None and images.pictures is not None:
        notes += images.pictures.notes
    notes += [*judge_real_data(loaded, evaluation, samples), *_teacher_notes(loaded, resolution.choice)]
    return Plan(
        loaded,
        resolution.recipe,
        resolution.choice,
        resolution.size.parameters,
        resolution.size.multiply_adds,
        resolution.pruned,
        place,
        evaluation,
        samples,
        images,
        tuple(notes),
    )


def _real_samples(recipe: Recipe, teacher: Teacher, data: str | Path | None) -> RealSamples | None:
    if data is not None:
        return read_real_samples(Path(data), teacher, recipe.data.per_class, recipe.seed)
    if "data" in recipe.requires:
        raise UsageError(
            f"recipe '{recipe.name}' trains on real samples; give some with --data FILE.npz, or take a recipe that "
            f"needs none: {', '.join(name for name in recipe_names() if 'data' not in load_recipe(name).requires)}"
        )
    return None


def _drawn_images(recipe: Recipe, teacher: Teacher, pictures: str | Path | None) -> DrawnImages | None:
    """The images that a run draws.

    Raises:
        UsageError: there are pictures, and the recipe draws no images or the pictures cannot be used.
    """
    shape = teacher.domain.shape
    if pictures is not None and recipe.procedural is None:
        raise UsageError(
            f"recipe '{recipe.name}' draws no images for this teacher, so pictures would not be used; leave --pictures "
            "out, or take a recipe with a section procedural, such as best"
        )
    if recipe.procedural is None:
        return None
    return DrawnImages(recipe.procedural, shape, None if pictures is None else read_pictures(Path(pictures), shape))


def _input_note(teacher: Teacher) -> str:
    domain = teacher.domain
    low, high = min(domain.low), max(domain.high)
    return (
        f"input '{domain.name}': {domain.layout} {domain.file_shape(1)[1:]}, values {low:g} to {high:g} "
        f"(range: {domain.range_source}; layout: {domain.layout_source})"
    )


def _teacher_notes(teacher: Teacher, student: Choice) -> list[str]:
    """What a user should know of the teacher's file."""
    notes = list(teacher.output.notes)
    if teacher.batch is not None:
        notes.append(
            f"the graph runs at batch size {teacher.batch} only, so the teacher runs in batches of that size; "
            "export it with a free batch size if that is slow"
        )
    dropped = {value.name for value in teacher.source.proto.graph.output} - {
        teacher.output.name,
        *(label.name for label in teacher.labels),
    }
    if dropped:
        is_graph = student.thinned is not None or is_onnx_file(student.name)
        what = "outputs that the student is not trained on" if is_graph else "outputs that the student will not have"
        notes.append(f"{what}: {', '.join(sorted(dropped))}")
    return [*notes, *teacher.domain.warnings]
