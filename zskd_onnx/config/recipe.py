"""The recipe: the whole configuration of a run as validated data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import Field, PositiveInt, field_validator, model_validator

from zskd_onnx.distillation.settings import Distillation, SampleKind
from zskd_onnx.export.settings import Deployment
from zskd_onnx.generators import GENERATORS
from zskd_onnx.priors import PRIORS
from zskd_onnx.procedural.settings import Procedural
from zskd_onnx.settings import Requirement, Settings
from zskd_onnx.synthesis import SYNTHESES

SECTIONS_WITH_KINDS = ("prior", "synthesis", "generator")

NOT_INHERITED = ("patience",)
"""Fields of ``distillation`` that ``fine_tuning`` does not default to, beside the weight of feature distillation."""


def _one_of(classes: Sequence[type[Settings]]) -> Any:
    """A section that is one of several classes, told apart by ``kind``."""
    return Annotated[Union[tuple(classes)], Field(discriminator="kind")]  # noqa: UP007


class RealData(Settings):
    """How real samples of the user are taken.

    Attributes:
        per_class: largest number of samples of each class, M, drawn with the seed; None takes all. Classes are the
            labels, or the teacher's predictions where the file has no labels.
    """

    per_class: PositiveInt | None = None


class Recipe(Settings):
    """One way to compress a teacher.

    The student is trained on a transfer set (``prior`` and ``synthesis``), on samples of a ``generator`` that is
    trained beside it, on ``procedural`` images, on real samples of the user (``data``), or on several of these.

    Attributes:
        name: of the recipe.
        summary: one line about it.
        paper: its source.
        expected: published and measured accuracies.
        requires: requirements beside those that follow from the sections: "data" (real samples of the user), or
            "head", "penultimate", "convolution", "batch_norm" or "positions" of the teacher.
        prior: distribution of the soft targets.
        synthesis: how inputs are made for the targets.
        generator: network that makes samples while the student is trained.
        procedural: images drawn at random by a procedure, and their shares of each batch.
        data: how real samples of the user are taken.
        student: name of an architecture, "half" or "auto"; "thin:0.5" for the teacher's own graph with half of its
            channels, or "thin:{conv1: 8}" with the widths of groups.
        init: "inherit" starts the student from the teacher's channels (pruned initialisation), which needs the
            teacher's topology; "auto" does so where it can; "random" never does. "file" starts a student that is an ONNX file
            (``--student small.onnx``) with the weights of the file.
        distillation: how the student is trained.
        fine_tuning: a second training stage, or None. Fields that it leaves out are those of ``distillation``,
            except for patience and feature distillation. The student from before is kept where the stage does not
            improve it on held-out samples, unless a generator makes these.
        held_out: number of synthesised samples that are not trained on and measure agreement.
        deployment: how the student is exported, and its quality gates.
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
    procedural: Procedural | None = None
    data: RealData = RealData()
    student: str = "auto"
    init: Literal["random", "inherit", "auto", "file"] = "random"
    distillation: Distillation = Distillation()
    fine_tuning: Distillation | None = None
    held_out: Annotated[int, Field(ge=100, le=100_000)] = 1000
    deployment: Deployment = Deployment()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="before")
    @classmethod
    def _complete_fine_tuning(cls, content: Any) -> Any:
        """Fill in what the second stage leaves out."""
        if isinstance(content, dict):
            section, changes = content.get("distillation"), content.get("fine_tuning")
            if isinstance(section, Distillation):
                section = section.model_dump()
            if isinstance(section, dict) and isinstance(changes, dict):
                return content | {"fine_tuning": _changed(section, changes)}
        return content

    @model_validator(mode="before")
    @classmethod
    def _share_temperature(cls, content: Any) -> Any:
        """Targets are drawn at the temperature at which inputs are synthesised for them."""
        if isinstance(content, dict):
            prior, synthesis = content.get("prior"), content.get("synthesis")
            if isinstance(prior, dict) and isinstance(synthesis, dict) and "temperature" in synthesis:
                fields = [cls.model_fields for cls in PRIORS if cls.model_fields["kind"].default == prior.get("kind")]
                if any("temperature" in names for names in fields):
                    return content | {"prior": {"temperature": synthesis["temperature"], **prior}}
        return content

    @model_validator(mode="after")
    def _has_samples(self) -> Recipe:
        """Check that every stage has samples, and that the sections fit together."""
        if self.synthesis is not None and self.synthesis.needs_prior and self.prior is None:
            raise ValueError(f"synthesis.kind {self.synthesis.kind} needs a prior for its targets")
        if self.synthesis is not None and self.synthesis.starts_from_images and self.procedural is None:
            raise ValueError("synthesis.start procedural needs a section procedural, which says what is drawn")
        temperatures = {getattr(section, "temperature", None) for section in (self.prior, self.synthesis)} - {None}
        if len(temperatures) > 1:
            raise ValueError("prior.temperature and synthesis.temperature differ; remove prior.temperature")
        if not self.sources(data="data" in self.requires):
            raise ValueError("expected a section synthesis, generator or procedural, or 'data' among requires")
        if self.synthesis is None and "data" not in self.requires:
            for name, stage in self.stages.items():
                if stage.epoch_samples is None:
                    raise ValueError(
                        f"{name}.epoch_samples is missing: without stored samples it says how long an epoch is"
                    )
        if self.generator is not None and self.synthesis is None:
            for name, stage in self.stages.items():
                if stage.patience is not None:
                    raise ValueError(
                        f"early stopping is unavailable where all samples come from a generator; remove {name}.patience"
                    )
        return self

    @field_validator("student")
    @classmethod
    def _never_code(cls, value: str) -> str:
        """A recipe is data: it cannot name code to run, or files."""
        if value.startswith("thin:"):
            return value
        if value.endswith(".onnx"):
            raise ValueError("a recipe cannot name a file of your own; give it with --student or student=")
        if ":" in value or "/" in value or value.endswith(".py"):
            raise ValueError("a recipe cannot name a module of your own; give it with --student or student=")
        return value

    def sources(self, data: bool) -> tuple[SampleKind, ...]:
        """Kinds of samples of a batch, in their order; ``data``: whether the user gave real samples."""
        present: dict[SampleKind, bool] = {
            "transfer_set": self.synthesis is not None,
            "data": data,
            "procedural": self.procedural is not None,
            "generator": self.generator is not None,
        }
        return tuple(kind for kind, is_present in present.items() if is_present)

    @property
    def stages(self) -> dict[str, Distillation]:
        """The sections that train the student, in order."""
        sections = {"distillation": self.distillation, "fine_tuning": self.fine_tuning}
        return {name: stage for name, stage in sections.items() if stage is not None}

    @property
    def needs(self) -> dict[Requirement, str]:
        """All requirements, each with the field that causes it."""
        needs: dict[Requirement, str] = dict.fromkeys(self.requires, "requires")
        if self.sources(data="data" in self.requires) == ("procedural",):
            needs["positions"] = "procedural"
        for section in SECTIONS_WITH_KINDS:
            part: Settings | None = getattr(self, section)
            if part is not None:
                needs |= {need: f"{section}.{field}" for need, field in part.needs.items()}
        return needs

    def to_yaml(self) -> str:
        """The recipe as YAML with every field."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _changed(section: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A training section with changes; its augmentation and loss weights are merged field by field."""
    result = {key: value for key, value in section.items() if key not in NOT_INHERITED}
    if isinstance(result.get("loss_weights"), dict):
        result["loss_weights"] = result["loss_weights"] | {"features": 0.0}
    for key, value in changes.items():
        before = result.get(key)
        result[key] = (
            before | value if isinstance(before, dict) and isinstance(value, dict) and key != "mixture" else value
        )
    return result
