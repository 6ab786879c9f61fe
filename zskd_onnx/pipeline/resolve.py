"""Resolving a recipe for a teacher: requirements, batch sizes, student, initialisation, mixtures, natural images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.config.requirements import FALLBACK_RECIPE, MISSING
from zskd_onnx.errors import UnsupportedTeacherError, UsageError, ZskdError
from zskd_onnx.settings import Requirement
from zskd_onnx.students.automatic import choose_automatically, choose_from_zoo, find_smaller, teacher_size
from zskd_onnx.students.choose import Choice, build, choose, choose_file, choose_thinned
from zskd_onnx.students.describe import Size, measure
from zskd_onnx.students.onnx_student import to_checked_file
from zskd_onnx.students.own_files import is_onnx_file
from zskd_onnx.students.pruning.inherit import interlayer_mismatch, why_not_inheritable
from zskd_onnx.students.thinned_student import PREFIX
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.natural_images import infer_natural_images
from zskd_onnx.teacher.probes.penultimate import find_penultimate
from zskd_onnx.teacher.teacher import Teacher

EXPORT_SAMPLES = 8
"""Samples on which a student is exported and compared before it is trained."""

NATURAL_BLOCKS = 20.0
"""Weight of block matching for natural images, with which ``benchmarks/thin_residual.py`` was measured."""


@dataclass(frozen=True)
class Resolution:
    """A recipe with everything decided that depends on the teacher and the device.

    Attributes:
        recipe: with all decisions.
        choice: architecture of the student, and why.
        size: of the student.
        pruned: whether the student starts from the teacher's channels.
        notes: decisions, in words.
    """

    recipe: Recipe
    choice: Choice
    size: Size
    pruned: bool
    notes: tuple[str, ...]


def resolve(recipe: Recipe, teacher: Teacher, device: torch.device, student: str | None, *, data: bool) -> Resolution:
    """Decide in a fixed order what a recipe leaves open.

    Args:
        student: the user's choice; None takes the recipe's.
        data: whether the user gave real samples.

    Raises:
        UnsupportedTeacherError: the teacher lacks what the recipe needs.
        UsageError: the student does not fit, "auto" has no student that is smaller than the teacher, or a stage
            would have no samples.
    """
    check_requirements(recipe, teacher)
    recipe = _with_batch_sizes(recipe, teacher, device)
    shape = teacher.domain.shape
    name = student or recipe.student
    choice = _choose(name, teacher, recipe)
    try:
        module = _built(choice, teacher, recipe)
    except ZskdError as error:
        if name != "auto" or choice.thinned is None:
            raise
        choice = choose_from_zoo(teacher, error)
        module = _built(choice, teacher, recipe)
    if not choice.is_own:
        recipe = recipe.model_copy(update={"student": choice.name})
    if is_onnx_file(name):
        pruned = False
        recipe = recipe.model_copy(update={"init": "random" if _starts_random(recipe) else "file"})
        initialisation = "random initialisation" if recipe.init == "random" else "initialised with the file's weights"
    elif choice.thinned is None:
        recipe, pruned, initialisation = _with_initialisation(recipe, module, teacher, choice.name)
    else:
        pruned = not _starts_random(recipe)
        recipe = recipe.model_copy(update={"init": "inherit" if pruned else "random"})
        initialisation = "initialised from the teacher's channels" if pruned else "random initialisation"
    if is_onnx_file(name) or choice.thinned is not None:
        recipe = _with_loss_weight(recipe, recipe.stages, features=0.0)
    recipe, notes = _with_natural_images(recipe, teacher, data=data)
    if choice.thinned is not None:
        recipe = _with_block_matching(recipe, teacher)
    _check_mixtures(recipe, data=data)  # last, because teachers of vectors have no procedural images
    size = measure(module, shape)
    notes = [f"student {choice.name}: {choice.why}; {initialisation}", *_size_notes(choice.name, size, teacher), *notes]
    return Resolution(recipe, choice, size, pruned, tuple(notes))


def _choose(name: str, teacher: Teacher, recipe: Recipe) -> Choice:
    if is_onnx_file(name):
        if recipe.init == "inherit":
            raise UsageError(
                f"student {name} keeps no channels of the teacher, as init 'inherit' asks; --student thin:0.5 does, "
                "or leave --init out to start with the weights of the file"
            )
        return choose_file(name, teacher, random=_starts_random(recipe))
    if recipe.init == "file":
        raise UsageError(
            f"init 'file' needs a student that is an ONNX file, and student '{name}' is none; give --student FILE.onnx, "
            "or another --init"
        )
    if name == "auto":
        return choose_automatically(teacher, random=_starts_random(recipe))
    if name.startswith(PREFIX):
        return choose_thinned(name, teacher, random=_starts_random(recipe))
    return choose(name, teacher.domain.shape)


def _built(choice: Choice, teacher: Teacher, recipe: Recipe) -> nn.Module:
    """The student, untrained; one whose file might not fit in the teacher's place is exported to see."""
    module = build(choice, teacher.domain.shape, teacher.classes, recipe.seed)
    if choice.is_own or choice.thinned is not None:
        _check_export(module, teacher, choice.name, recipe.deployment.opset)
    return module


def _starts_random(recipe: Recipe) -> bool:
    """Whether a student that is an ONNX graph starts with random weights: only where that is asked for."""
    return recipe.init == "random" and "init" in recipe.model_fields_set


def check_requirements(recipe: Recipe, teacher: Teacher) -> None:
    """Raise UnsupportedTeacherError if the teacher lacks what the recipe needs."""
    need = lacking(recipe, teacher)
    if need is not None:
        name = FALLBACK_RECIPE if lacking(load_recipe(DEFAULT_RECIPE), teacher) else DEFAULT_RECIPE
        use = "" if name == recipe.name else f"use --recipe {name}, or "
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: recipe '{recipe.name}' needs {MISSING[need]}; {use}change {recipe.needs[need]}, "
            "which causes this"
        )


def lacking(recipe: Recipe, teacher: Teacher) -> Requirement | None:
    """The first thing that a recipe needs and the teacher lacks, or None."""
    return next((need for need in recipe.needs if not satisfies(teacher, need)), None)


def satisfies(teacher: Teacher, requirement: Requirement) -> bool:
    """Whether a teacher has what a recipe may need."""
    match requirement:
        case "head":
            return teacher.head is not None
        case "penultimate":
            return find_penultimate(teacher) is not None
        case "convolution":
            return teacher.inventory.convolutions > 0
        case "batch_norm":
            return teacher.inventory.batch_norms > 0
        case "positions":
            return len(teacher.domain.shape) > 1
        case "data":
            return True


def _with_batch_sizes(recipe: Recipe, teacher: Teacher, device: torch.device) -> Recipe:
    """With batch sizes for the teacher's samples on a device."""
    changes: dict[str, Any] = {name: stage.for_shape(teacher.domain.shape) for name, stage in recipe.stages.items()}
    if recipe.synthesis is not None:
        changes["synthesis"] = recipe.synthesis.fitted(teacher, device)
    return recipe.model_copy(update=changes)


def _check_export(student: nn.Module, teacher: Teacher, name: str, opset: int) -> None:
    """Raise UsageError where a student's file would not fit in the teacher's place: before the student is trained."""
    unit = torch.rand((EXPORT_SAMPLES, *teacher.domain.shape), generator=rng_for(0, "delivery"))
    try:
        to_checked_file(student, teacher, opset, unit)
    except ZskdError as error:
        raise UsageError(f"student {name}: {error}") from error


def _with_initialisation(recipe: Recipe, student: nn.Module, teacher: Teacher, name: str) -> tuple[Recipe, bool, str]:
    """The recipe, whether the student is pruned from the teacher, and the same in words.

    With ``init: auto``, feature distillation goes with pruning: it helps a student whose features come from
    the teacher's, and costs a small student with random weights about a point of accuracy.

    Raises:
        UsageError: ``init: inherit``, and the student lacks the teacher's topology.
    """
    if recipe.init == "random":
        return recipe, False, "random initialisation"
    reason = why_not_inheritable(student, teacher)
    if reason is None and recipe.init == "auto":
        reason = interlayer_mismatch(student, teacher)
    if reason is None:
        return recipe, True, "initialised from the teacher's channels"
    if recipe.init == "inherit":
        raise UsageError(f"student {name} cannot start from the teacher's channels: {reason}; use --init random")
    weighted = [name for name, stage in recipe.stages.items() if stage.loss_weights.features]
    without = " without feature distillation" if weighted else ""
    text = f"random initialisation{without}, because the teacher's channels do not fit ({reason})"
    return _with_loss_weight(recipe, weighted, features=0.0), False, text


def _with_block_matching(recipe: Recipe, teacher: Teacher) -> Recipe:
    """The recipe with a weight of block matching, for a thinned student.

    Blocks learn from images that are unlike the teacher's data. Where the samples are like the data, matching blocks costs
    accuracy: LeNet-5 on MNIST 98.80 without, 98.52 with it.
    """
    unset = [name for name, stage in recipe.stages.items() if stage.loss_weights.blocks is None]
    if not unset:
        return recipe
    natural = None if recipe.procedural is None else recipe.procedural.natural_images
    if natural is None:
        natural = infer_natural_images(teacher)
    return _with_loss_weight(recipe, unset, blocks=NATURAL_BLOCKS if natural else 0.0)


def _with_loss_weight(recipe: Recipe, stages: Iterable[str], **weight: float) -> Recipe:
    """The recipe with another weight of a loss term in some of its stages."""
    changes = {}
    for name in stages:
        stage = recipe.stages[name]
        changes[name] = stage.model_copy(update={"loss_weights": stage.loss_weights.model_copy(update=weight)})
    return recipe.model_copy(update=changes)


def _size_notes(name: str, size: Size, teacher: Teacher) -> list[str]:
    """A warning where a student has more parameters or multiply-adds than the teacher."""
    limit = teacher_size(teacher)
    if size.is_within(limit):
        return []
    smaller = find_smaller(teacher)
    advice = "no student that auto picks is smaller" if smaller is None else f"--student {smaller.name} is smaller"
    return [f"student {name} is larger or slower than the teacher: it has {size}, the teacher {limit}; {advice}"]


def _check_mixtures(recipe: Recipe, *, data: bool) -> None:
    """Raise UsageError where the batches of a stage would have no samples."""
    present = recipe.sources(data)
    for stage, settings in recipe.stages.items():
        if not settings.mixture or set(settings.mixture) & set(present):
            continue
        give = ", or give real samples with --data FILE.npz" if "data" in settings.mixture else ""
        raise UsageError(
            f"{stage}.mixture names {', '.join(settings.mixture)}, but the samples of this run are {', '.join(present)}; "
            f"name one of these, such as --set '{stage}.mixture={{{present[0]}: 1}}'{give}"
        )


def _with_natural_images(recipe: Recipe, teacher: Teacher, *, data: bool) -> tuple[Recipe, list[str]]:
    """The recipe with procedural images for the teacher's inputs, and notes.

    Raises:
        UsageError: the run needs such images, and the shares of all kinds for such inputs are 0.
    """
    procedural, shape = recipe.procedural, teacher.domain.shape
    if procedural is None:
        return recipe, []
    if procedural.natural_images is None and procedural.has_natural:
        procedural = procedural.model_copy(update={"natural_images": infer_natural_images(teacher)})
    if not procedural.kinds(shape):
        if recipe.sources(data) == ("procedural",) or (recipe.synthesis and recipe.synthesis.starts_from_images):
            raise UsageError(
                "section procedural draws no images for the teacher's inputs, and this run needs some; set "
                "procedural.level_lines, procedural.pen_strokes, procedural.objects, procedural.dead_leaves or "
                "procedural.scenes above 0"
            )
        return recipe.model_copy(update={"procedural": None}), []
    natural = procedural.natural_images
    notes = [] if recipe.procedural is procedural or natural is None else [inference_in_words(natural=natural)]
    return recipe.model_copy(update={"procedural": procedural}), notes


def inference_in_words(*, natural: bool) -> str:
    """What ``infer_natural_images`` said, and how a user says the opposite."""
    kind, other = ("natural images", "false") if natural else ("drawings", "true")
    return (
        f"inputs are taken for {kind}, as the teacher's predictions suggest; if they are not, use "
        f"--set procedural.natural_images={other}"
    )
