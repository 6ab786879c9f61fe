"""Recipes: the whole configuration of a run, as typed data and as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import torch
import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from zskd_onnx.config.files import parse_yaml, read_recipe, recipe_names
from zskd_onnx.distillation.settings import Distillation, Source
from zskd_onnx.errors import RecipeError, UnsupportedTeacherError
from zskd_onnx.export.settings import Deployment
from zskd_onnx.generators import GENERATORS
from zskd_onnx.priors import PRIORS
from zskd_onnx.procedural.natural_images import takes_photographs
from zskd_onnx.settings import Requirement, Settings
from zskd_onnx.synthesis import SYNTHESES
from zskd_onnx.teacher.probes.penultimate import find_second_last
from zskd_onnx.teacher.teacher import Teacher

SECTIONS_WITH_KINDS = ("prior", "synthesis", "generator")

NOT_TAKEN_OVER = ("hints", "patience")
"""What fine-tuning does not take over: a student that has learned needs no help, and has little left to find."""

LACKS: dict[Requirement, str] = {
    "head": "a final fully connected layer, and none was found behind the output",
    "second_last": "a fully connected layer before the final one, and none was found",
    "convolution": "a convolution, and none was found",
    "batch_norm": "batch normalisation, and exporters often fold it away: no statistics are left in the file",
}
"""What a message says of a teacher that lacks something."""


def _one_of(classes: Sequence[type[Settings]]) -> Any:
    """A section that holds one of several classes, told apart by ``kind``."""
    return Annotated[Union[tuple(classes)], Field(discriminator="kind")]  # noqa: UP007


class RealData(Settings):
    """How real samples that a user has are trained on.

    Attributes:
        per_class: how many of each class at most, M, drawn by the seed; None takes all. Classes are the
            labels, or what the teacher says where there are none.
    """

    per_class: PositiveInt | None = None


class Recipe(Settings):
    """One way to compress a teacher.

    The student learns from a transfer set (``prior`` and ``synthesis``), from a ``generator`` that is
    trained beside it, from real samples that the user gives (``data``), or from several of them at once.

    Attributes:
        name, summary, paper: for people.
        expected: figures that the paper and the benchmarks have for it.
        requires: what must be there beside what prior, synthesis and generator ask for by themselves, see ``needs``:
            "data", real samples from the user; "head", "second_last", "convolution" or "batch_norm" of the teacher.
        prior: where soft targets come from.
        synthesis: how inputs are made.
        generator: what makes samples while the student learns.
        data: how real samples are taken, where the user gives some.
        student: an architecture's name, "half" or "auto".
        init: "inherit" starts the student from those of the teacher's channels that matter most, where it has the
            teacher's topology; "auto" does so where it can; "fresh" never.
        distillation: how the student is trained.
        fine_tuning: how it is trained once more after that, or None; what it leaves out is as ``distillation`` has it, but for
            hints and patience. It keeps the student that it began with where no later one does better on held-out samples,
            unless these come from a generator.
        held_out: synthesised samples beyond the transfer set that measure agreement and train nothing.
        deployment: how the student is delivered.
        seed: of every random draw.
    """

    name: str
    summary: str
    paper: str = ""
    expected: str = ""
    requires: tuple[Requirement, ...] = ()
    prior: _one_of(PRIORS) | None = None  # type: ignore[valid-type]
    synthesis: _one_of(SYNTHESES) | None = None  # type: ignore[valid-type]
    generator: _one_of(GENERATORS) | None = None  # type: ignore[valid-type]
    data: RealData = RealData()
    student: str = "auto"
    init: Literal["fresh", "inherit", "auto"] = "fresh"
    distillation: Distillation = Distillation()
    fine_tuning: Distillation | None = None
    held_out: Annotated[int, Field(ge=100, le=100_000)] = 1000
    deployment: Deployment = Deployment()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="before")
    @classmethod
    def _tuned_as_distilled(cls, content: Any) -> Any:
        """A second stage says what it changes."""
        if isinstance(content, dict):
            section, changes = content.get("distillation"), content.get("fine_tuning")
            if isinstance(section, Distillation):
                section = section.model_dump()
            if isinstance(section, dict) and isinstance(changes, dict):
                return content | {"fine_tuning": _changed(section, changes)}
        return content

    @model_validator(mode="before")
    @classmethod
    def _drawn_as_asked(cls, content: Any) -> Any:
        """Targets are drawn at the temperature at which the synthesis asks for them."""
        if isinstance(content, dict):
            prior, synthesis = content.get("prior"), content.get("synthesis")
            if isinstance(prior, dict) and isinstance(synthesis, dict) and "temperature" in synthesis:
                fields = [one.model_fields for one in PRIORS if one.model_fields["kind"].default == prior.get("kind")]
                if any("temperature" in one for one in fields):
                    return content | {"prior": {"temperature": synthesis["temperature"], **prior}}
        return content

    @model_validator(mode="after")
    def _has_samples(self) -> Recipe:
        """Every recipe says where its samples come from."""
        if self.synthesis is not None and self.synthesis.needs_prior and self.prior is None:
            raise ValueError(f"synthesis.kind {self.synthesis.kind} needs a prior for its targets")
        temperatures = {getattr(section, "temperature", None) for section in (self.prior, self.synthesis)} - {None}
        if len(temperatures) > 1:
            raise ValueError(
                "prior.temperature and synthesis.temperature differ, and are of the same targets; leave the former out"
            )
        if self.synthesis is None and self.generator is None and "data" not in self.requires:
            raise ValueError("expected a synthesis, a generator, or 'data' among requires")
        if self.synthesis is None and "data" not in self.requires:
            for name, stage in self.stages.items():
                if stage.epoch_samples is None:
                    raise ValueError(
                        f"a generator stores no samples; say with {name}.epoch_samples how many are an epoch"
                    )
        if self.generator is not None and self.synthesis is None:
            for name, stage in self.stages.items():
                if stage.patience is not None:
                    raise ValueError(
                        "a generator's samples change as it learns, so no check tells that the student got no better; "
                        f"leave {name}.patience out"
                    )
        return self

    def sources(self, data: bool) -> tuple[Source, ...]:
        """Where samples come from, in the order of a batch; ``data``: whether the user gave real ones."""
        there = {"transfer_set": self.synthesis is not None, "data": data, "generator": self.generator is not None}
        return tuple(name for name, has in there.items() if has)  # type: ignore[misc]

    @field_validator("student")
    @classmethod
    def _never_code(cls, value: str) -> str:
        """A recipe is data: it cannot name code to run."""
        if ":" in value or "/" in value or value.endswith(".py"):
            raise ValueError("a recipe cannot name a module of your own; give it with --student or student=")
        return value

    def to_yaml(self) -> str:
        """The recipe with every field written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def fitted(self, teacher: Teacher, device: torch.device) -> Recipe:
        """As it is for a teacher's samples, on a device."""
        changes: dict[str, Any] = {name: stage.fitted(teacher.domain.shape) for name, stage in self.stages.items()}
        if self.synthesis is not None:
            changes["synthesis"] = self.synthesis.fitted(teacher, device)
        return self.model_copy(update=changes)

    @property
    def stages(self) -> dict[str, Distillation]:
        """The sections that train the student, in their order."""
        found = {"distillation": self.distillation, "fine_tuning": self.fine_tuning}
        return {name: stage for name, stage in found.items() if stage is not None}

    @property
    def undecided(self) -> dict[str, Distillation]:
        """Stages of training that do not say whether images are photographs, and would like to know."""
        return {name: stage for name, stage in self.stages.items() if stage.augmentation.undecided}

    def decided(self, teacher: Teacher) -> Recipe:
        """With that said: as another stage has it, or else as far as the teacher tells."""
        undecided = self.undecided
        if not undecided:
            return self
        said = {stage.augmentation.photographs for stage in self.stages.values()} - {None}
        photographs = said.pop() if said else takes_photographs(teacher)
        changes = {
            name: stage.model_copy(
                update={"augmentation": stage.augmentation.model_copy(update={"photographs": photographs})}
            )
            for name, stage in undecided.items()
        }
        return self.model_copy(update=changes)

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``: what ``requires`` says, and what follows from the sections as they are."""
        found: dict[Requirement, str] = dict.fromkeys(self.requires, "requires")
        for section in SECTIONS_WITH_KINDS:
            part: Settings | None = getattr(self, section)
            if part is not None:
                found |= {need: f"{section}.{field}" for need, field in part.needs.items()}
        return found

    def check(self, teacher: Teacher) -> None:
        """Raise UnsupportedTeacherError if the teacher lacks what the recipe needs."""
        for need, field in self.needs.items():
            if not holds(teacher, need):
                others = [name for name in recipe_names() if need not in load_recipe(name).needs]
                raise UnsupportedTeacherError(
                    f"{teacher.source.path}: recipe '{self.name}' needs {LACKS[need]}; change {field}, which asks for it; "
                    f"built-in recipes that do not: {', '.join(others)}"
                )


def holds(teacher: Teacher, requirement: Requirement) -> bool:
    """Whether a teacher has what a recipe may need."""
    if requirement == "head":
        return teacher.head is not None
    if requirement == "second_last":
        return find_second_last(teacher) is not None
    return {
        "convolution": teacher.layers.convolutions > 0,
        "batch_norm": teacher.layers.batch_norms > 0,
        "data": True,
    }[requirement]


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A built-in recipe or a YAML file, with overrides.

    Args:
        name_or_path: "best", "zskd" and so on, or a path that ends in .yaml or .yml.
        overrides: "distillation.epochs=50" and the like; the value is read as YAML.

    Raises:
        RecipeError: no such recipe, or it does not validate; the message lists every fault.
    """
    content, where = read_recipe(name_or_path)
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_faults(error)}") from error


def _changed(section: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A section of training with changes; its augmentation is one in turn."""
    found = {key: value for key, value in section.items() if key not in NOT_TAKEN_OVER} | changes
    before, after = (one.get("augmentation") for one in (section, changes))
    if isinstance(before, dict) and isinstance(after, dict):
        found["augmentation"] = before | after
    return found


def _apply(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set {override}: expected key=value, such as distillation.epochs=50")
    value = parse_yaml(text, f"--set {override}")
    at = content
    for key in keys[:-1]:
        if at.get(key) is None:  # as a section that is left out is written
            at[key] = {}
        inner = at[key]
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {override}: '{key}' is a value, not a section")
        at = inner
    at[keys[-1]] = value


def _faults(error: ValidationError) -> str:
    """All faults on one line."""
    named, faults = [list(fault["loc"]) for fault in error.errors()], []
    for fault in error.errors(include_input=False, include_url=False):
        loc = list(fault["loc"])
        if loc[:1] and loc[0] in SECTIONS_WITH_KINDS and len(loc) > 1:
            del loc[1]  # the section's kind, which stands in the location as if it were a key
        if loc[:1] == ["fine_tuning"] and ["distillation", *loc[1:]] in named:
            continue  # taken over from there
        where = ".".join(str(part) for part in loc)
        text = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"][:1].lower() + fault["msg"][1:]
        faults.append(f"{where}: {text}" if where else text)
    return "; ".join(faults)
