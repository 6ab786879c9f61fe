"""Fingerprints: what a result depends on, so that only matching work is reused or resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.real_samples import RealSamples
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.importer.file.external_files import external_files
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.students.own_files import is_onnx_file, own_file
from zskd_onnx.system.rows import Rows, parts
from zskd_onnx.teacher.teacher import Teacher
from zskd_onnx.version import __version__

DESCRIPTIVE = {"name", "summary", "paper", "expected", "deployment"}
"""Fields of a recipe that training does not depend on."""

TRAINING = {"student", "init", "data", "generator", "procedural", "distillation", "fine_tuning", "held_out"}
"""Fields of a recipe that the students between competing rounds depend on."""

PART = 1024
"""Samples of which the digest is continued at once."""

DATA_OPTIONS = ("eval_data", "data")
"""Options of a run that name a file whose content the result depends on."""


def digest(content: Any) -> str:
    """SHA-256 of plain values as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def teacher_fingerprint(teacher: Teacher) -> dict[str, Any]:
    """The file, its fixed inputs, and the input domain."""
    domain = teacher.domain
    return {
        "teacher_sha256": teacher.source.sha256,
        "fixed_inputs": teacher.source.fixed,
        "domain": {
            "shape": list(domain.shape),
            "low": list(domain.low),
            "high": list(domain.high),
            "layout": domain.layout,
        },
    }


def synthesis_fingerprint(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that a transfer set depends on.

    Its size is left out, because a larger set begins with the smaller one. A set that is made in competing
    rounds depends on its size and on how students are trained between the rounds.
    """
    assert recipe.synthesis is not None
    sections = {"prior", "synthesis", "seed", *(["procedural"] if recipe.synthesis.starts_from_images else [])}
    fields = recipe.model_dump(mode="json", include=sections)
    if recipe.synthesis.rounds == 1:
        fields["synthesis"].pop("count")
    else:
        fields["learning"] = recipe.model_dump(mode="json", include=TRAINING)
    return fields


def transfer_set_fingerprint(plan: Plan) -> dict[str, Any]:
    """What a transfer set depends on."""
    fields = synthesis_fingerprint(plan.recipe)
    if "procedural" in fields:
        fields |= _pictures(plan)
    if "learning" in fields:
        fields["learning"] |= {"student": student_fingerprint(plan.choice.name), "samples": _samples(plan.data)}
    return teacher_fingerprint(plan.teacher) | fields


def training_fingerprint(plan: Plan, student: nn.Module, samples: Samples | None) -> str:
    """Digest of what the training of a student depends on."""
    return digest(
        {
            "version": __version__,
            "recipe": plan.recipe.model_dump(mode="json", exclude=DESCRIPTIVE),
            "student": student_fingerprint(plan.choice.name),
            "weights": {name: list(value.shape) for name, value in student.state_dict().items()},
            "teacher": teacher_fingerprint(plan.teacher),
            "samples": None if samples is None else _content(samples.inputs),
            "data": _samples(plan.data),
            **_pictures(plan),
        }
    )


def _pictures(plan: Plan) -> dict[str, str]:
    """The digest of the user's pictures, where the run has some."""
    return {} if plan.images is None or plan.images.pictures is None else {"pictures": plan.images.pictures.digest}


def student_fingerprint(name: str) -> str:
    """A student's name; for a file of the user, the digest of its content in place of its path."""
    path = own_file(name)
    if path is None or not path.is_file():
        return name
    content = hashlib.sha256(path.read_bytes())
    if is_onnx_file(name):
        for external in external_files(path):
            content.update(external.read_bytes())
        return content.hexdigest()
    return f"{content.hexdigest()}:{name.rpartition(':')[2]}"


def sweep_fingerprint(teacher: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a sweep depend on: program version, teacher file, and options of ``compress``."""
    source = read_onnx_file(teacher, options.get("fix"))
    values = {key: value for key, value in options.items() if key != "fix"}
    for key in DATA_OPTIONS:
        if key in values and Path(values[key]).is_file():
            with Path(values[key]).open("rb") as file:
                values[key] = hashlib.file_digest(file, "sha256").hexdigest()
    if "pictures" in values:
        values["pictures"] = _listing(Path(values["pictures"]))
    if "student" in values:
        values["student"] = student_fingerprint(values["student"])
    return {"version": __version__, "teacher": source.sha256, "fixed": source.fixed, **values}


def _listing(folder: Path) -> str:
    """Digest of the names, sizes and times of a folder's files, which is quick for a large photo library."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            content.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return content.hexdigest()


def _samples(data: RealSamples | None) -> list[str | None] | None:
    return None if data is None else [_content(data.inputs), None if data.labels is None else _content(data.labels)]


def _content(rows: Rows) -> str:
    """SHA-256 of the values of rows on the CPU or on disk."""
    content = hashlib.sha256()
    for part in parts(rows, PART):
        content.update(part.contiguous().numpy().data)
    return content.hexdigest()
