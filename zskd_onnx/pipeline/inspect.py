"""What a teacher's file contains, and which recipes and students suit it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import onnx

from zskd_onnx.config.files import recipe_names
from zskd_onnx.config.load import load_recipe
from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.pipeline.choose_recipe import default_recipe
from zskd_onnx.pipeline.resolve import check_requirements, satisfies
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.settings import Requirement
from zskd_onnx.students.automatic import choose_automatically
from zskd_onnx.students.choose import Choice
from zskd_onnx.students.describe import Description, describe
from zskd_onnx.teacher.load import TeacherOptions, load_teacher
from zskd_onnx.teacher.probes.answers import Answers
from zskd_onnx.teacher.probes.penultimate import find_penultimate
from zskd_onnx.teacher.probes.procedural_answers import procedural_answers
from zskd_onnx.teacher.signature.head import Head
from zskd_onnx.teacher.teacher import Teacher

QUANTISED = {
    "DynamicQuantizeLinear": "dynamic",
    "QLinearConv": "integer operators",
    "QLinearMatMul": "integer operators",
    "com.microsoft.QGemm": "integer operators",
    "QuantizeLinear": "quantise-dequantise pairs",
}
"""Operator -> kind of quantisation, the most specific first."""


@dataclass(frozen=True)
class Suitability:
    """Whether a recipe suits a teacher.

    Attributes:
        needs: requirement -> whether the teacher satisfies it.
        why: the reason why the recipe does not suit; empty where it does.
    """

    needs: dict[Requirement, bool]
    why: str

    @property
    def suits(self) -> bool:
        """Whether the recipe can be used."""
        return not self.why


@dataclass(frozen=True)
class Inspection:
    """What a teacher's file contains.

    Attributes:
        teacher: imported, and compared with onnxruntime.
        quantisation: how the weights are stored where they are not float32, or None.
        outputs: output name -> what it holds.
        penultimate: node and number of outputs of the fully connected layer before the final one, or None.
        recipes: recipe name -> whether it suits.
        default_recipe: the recipe that a run takes where none is named.
        default_why: why it is not the recipe of most teachers; empty where it is.
        procedural: kind of procedural images -> the teacher's predictions on some; see ``procedural_answers``.
        choice: the student that "auto" takes, and why; None where no student is smaller than the teacher.
        students: architectures that fit the input, with their sizes.
    """

    teacher: Teacher
    quantisation: str | None
    outputs: dict[str, str]
    penultimate: tuple[str, int] | None
    recipes: dict[str, Suitability]
    default_recipe: str
    default_why: str
    procedural: dict[str, Answers]
    choice: Choice | None
    students: tuple[Description, ...]

    def __repr__(self) -> str:
        suitable = [name for name, recipe in self.recipes.items() if recipe.suits]
        student = "none" if self.choice is None else self.choice.name
        return f"Inspection({self.teacher!r}, recipes {', '.join(suitable)}, student {student})"

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        teacher, penultimate = self.teacher, self.penultimate
        source, domain, inventory = teacher.source, teacher.domain, teacher.inventory
        producer = f"{source.proto.producer_name} {source.proto.producer_version}".strip()
        return {
            "path": str(source.path),
            "sha256": source.sha256,
            "bytes": source.size,
            "producer": producer,
            "opset": source.opset,
            "operators": {
                name: {"count": count, "supported": known} for name, (count, known) in inventory.operators.items()
            },
            "quantisation": self.quantisation,
            "input": {
                "name": domain.name,
                "type": domain.dtype,
                "layout": domain.layout,
                "shape": [teacher.batch or "N", *domain.file_shape(1)[1:]],
                "low": list(domain.low),
                "high": list(domain.high),
                "layout_source": domain.layout_source,
                "range_source": domain.range_source,
                "assumed": domain.assumed,
                "certainty": domain.certainty,
                "warnings": list(domain.warnings),
            },
            "outputs": self.outputs,
            "output": {
                "name": teacher.output.name,
                "kind": teacher.output.kind,
                "shape": ["N", *teacher.output.shape],
                "notes": list(teacher.output.notes),
            },
            "classes": teacher.classes,
            "class_names": None if teacher.class_names is None else list(teacher.class_names),
            "head": None if teacher.head is None else _head(teacher.head),
            "penultimate_layer": None
            if penultimate is None
            else dict(zip(("node", "outputs"), penultimate, strict=True)),
            "batch_norm": {"statistics": inventory.batch_norms, "convolutions": inventory.convolutions},
            "parameters": teacher.parameters_count,
            "multiply_adds": teacher.cost.multiply_adds,
            "parity": teacher.parity,
            "recipes": {
                name: {"suits": recipe.suits, "needs": recipe.needs, "why": recipe.why}
                for name, recipe in self.recipes.items()
            },
            "default_recipe": {"name": self.default_recipe, "why": self.default_why},
            "procedural": {kind: answers.to_dict() for kind, answers in self.procedural.items()},
            "student": None if self.choice is None else {"name": self.choice.name, "why": self.choice.why},
            "students": [
                {
                    "name": entry.name,
                    "parameters": entry.parameters,
                    "multiply_adds": entry.multiply_adds,
                    "share": round((entry.parameters or 0) / max(1, teacher.parameters_count), 4),
                }
                for entry in self.students
            ],
        }


def inspect(path: str | Path, **options: Unpack[TeacherOptions]) -> Inspection:
    """Inspect a teacher's file.

    Args:
        options: as ``load_teacher`` takes them.

    Raises:
        UsageError, UnsupportedTeacherError, ParityError: see ``load_teacher``.
    """
    teacher = load_teacher(path, **options)
    penultimate = find_penultimate(teacher)
    shape = teacher.domain.shape
    default, why = default_recipe(teacher)
    return Inspection(
        teacher=teacher,
        quantisation=_quantisation(teacher),
        outputs=_outputs(teacher),
        penultimate=None if penultimate is None else (penultimate.node, len(penultimate.weight)),
        recipes={name: _suitability(name, teacher) for name in recipe_names()},
        default_recipe=default.name,
        default_why="; ".join(why),
        procedural=procedural_answers(teacher),
        choice=_choice(teacher),
        students=tuple(entry for entry in describe(shape, teacher.classes) if entry.parameters is not None),
    )


def _choice(teacher: Teacher) -> Choice | None:
    """The student that "auto" stands for, or None."""
    try:
        return choose_automatically(teacher)
    except UsageError:
        return None


def _outputs(teacher: Teacher) -> dict[str, str]:
    """What each output of the file holds, and so whether a student will have it."""
    outputs = {}
    labels = {label.name for label in teacher.labels}
    for value in teacher.source.proto.graph.output:
        if value.name == teacher.output.name:
            kind = f"classes ({teacher.output.kind}{', as a map' if teacher.zipped else ''})"
            outputs[value.name] = "; ".join([kind, *teacher.output.notes])
        else:
            outputs[value.name] = "predicted label" if value.name in labels else "not part of a student"
    return outputs


def _quantisation(teacher: Teacher) -> str | None:
    for operator, kind in QUANTISED.items():
        if operator in teacher.inventory.operators:
            return f"8-bit, {kind}"
    elements: dict[int, int] = {}
    for tensor in teacher.source.proto.graph.initializer:
        elements[tensor.data_type] = elements.get(tensor.data_type, 0) + math.prod(tensor.dims)
    most = max(elements, key=lambda kind: elements[kind], default=onnx.TensorProto.FLOAT)
    other = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    return onnx.TensorProto.DataType.Name(most).lower() if most in other else None


def _head(head: Head) -> dict[str, Any]:
    """The final layer, and its two most similar classes."""
    matrix = class_similarity(head.weight)
    off_diagonal = matrix.clone().fill_diagonal_(-2)
    first, second = divmod(int(off_diagonal.argmax()), len(matrix))
    return {
        "node": head.node,
        "weight": list(head.weight.shape),
        "bias": head.bias is not None,
        "most_similar_classes": [first, second],
        "similarity": round(float(matrix[first, second]), 4),
    }


def _suitability(name: str, teacher: Teacher) -> Suitability:
    recipe = load_recipe(name)
    needs = {requirement: satisfies(teacher, requirement) for requirement in recipe.needs}
    try:
        check_requirements(recipe, teacher)
    except UnsupportedTeacherError as error:
        return Suitability(needs, str(error))
    return Suitability(needs, "")
