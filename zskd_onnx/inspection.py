"""What a teacher file holds, for people and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from zskd_onnx import students
from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.priors import class_similarity
from zskd_onnx.recipe import load_recipe, recipe_names
from zskd_onnx.teacher import Head, Teacher, TeacherOptions, load_teacher


def inspect(path: str | Path, **options: Unpack[TeacherOptions]) -> dict[str, Any]:
    """Facts about a teacher file, as the JSON of ``zskd-onnx inspect --format json``.

    Args:
        options: as ``load_teacher`` takes them.

    Raises:
        UsageError, UnsupportedTeacherError, ParityError: see ``load_teacher``.
    """
    teacher = load_teacher(path, **options)
    source, domain, head = teacher.source, teacher.domain, teacher.head
    choice = students.choose("auto", domain.shape, teacher.parameters_count)
    return {
        "path": str(source.path),
        "sha256": source.sha256,
        "bytes": source.size,
        "producer": f"{source.proto.producer_name} {source.proto.producer_version}".strip(),
        "opset": source.opset,
        "operators": operators(teacher),
        "input": {
            "name": domain.name,
            "type": domain.dtype,
            "layout": domain.layout,
            "shape": ["N", *domain.file_shape(1)[1:]],
            "low": list(domain.low),
            "high": list(domain.high),
            "layout_source": domain.layout_source,
            "range_source": domain.range_source,
            "assumed": domain.assumed,
        },
        "output": {"name": teacher.output.name, "kind": teacher.output.kind, "shape": ["N", *teacher.output.shape]},
        "classes": teacher.classes,
        "head": None if head is None else _describe_head(head),
        "parameters": teacher.parameters_count,
        "multiply_adds": teacher.cost.multiply_adds,
        "parity": teacher.parity,
        "recipes": {name: _suits(name, teacher) for name in recipe_names()},
        "student": {"name": choice.name, "why": choice.why},
    }


def operators(teacher: Teacher) -> dict[str, int]:
    """How often each operator stands in the file."""
    found: dict[str, int] = {}
    for node in teacher.source.proto.graph.node:
        name = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def _describe_head(head: Head) -> dict[str, Any]:
    """Where the final layer is, and the two classes that it holds most alike."""
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


def _suits(name: str, teacher: Teacher) -> str:
    try:
        load_recipe(name).check(teacher)
    except UnsupportedTeacherError as error:
        return str(error)
    return "suits"
