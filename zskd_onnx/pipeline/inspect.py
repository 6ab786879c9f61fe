"""What a teacher file holds, for people and as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Unpack

import onnx

from zskd_onnx.config.files import recipe_names
from zskd_onnx.config.recipe import holds, load_recipe
from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.students.choose import choose
from zskd_onnx.students.describe import describe
from zskd_onnx.teacher.load import TeacherOptions, load_teacher
from zskd_onnx.teacher.signature.head import Head
from zskd_onnx.teacher.teacher import Teacher

QUANTISED = {
    "DynamicQuantizeLinear": "dynamic",
    "QLinearConv": "integer operators",
    "QLinearMatMul": "integer operators",
    "com.microsoft.QGemm": "integer operators",
    "QuantizeLinear": "quantise-dequantise pairs",
}
"""An operator -> the kind of quantisation that it tells of, the most telling first."""


def inspect(path: str | Path, **options: Unpack[TeacherOptions]) -> dict[str, Any]:
    """Facts about a teacher file, as the JSON of ``zskd-onnx inspect --format json``.

    Args:
        options: as ``load_teacher`` takes them.

    Raises:
        UsageError, UnsupportedTeacherError, ParityError: see ``load_teacher``.
    """
    teacher = load_teacher(path, **options)
    source, domain, head, layers = teacher.source, teacher.domain, teacher.head, teacher.layers
    choice = choose("auto", domain.shape, teacher.parameters_count)
    return {
        "path": str(source.path),
        "sha256": source.sha256,
        "bytes": source.size,
        "producer": f"{source.proto.producer_name} {source.proto.producer_version}".strip(),
        "opset": source.opset,
        "operators": {name: {"count": n, "supported": known} for name, (n, known) in layers.operators.items()},
        "quantisation": _quantisation(teacher),
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
        },
        "outputs": _outputs(teacher),
        "output": {"name": teacher.output.name, "kind": teacher.output.kind, "shape": ["N", *teacher.output.shape]},
        "classes": teacher.classes,
        "class_names": None if teacher.class_names is None else list(teacher.class_names),
        "head": None if head is None else _describe_head(head),
        "second_last_layer": None if layers.second_last is None else vars(layers.second_last),
        "batch_norm": {"statistics": layers.batch_norms, "convolutions": layers.convolutions},
        "parameters": teacher.parameters_count,
        "multiply_adds": teacher.cost.multiply_adds,
        "parity": teacher.parity,
        "recipes": {name: _suits(name, teacher) for name in recipe_names()},
        "student": {"name": choice.name, "why": choice.why},
        "students": [
            {
                "name": entry.name,
                "parameters": entry.parameters,
                "multiply_adds": entry.multiply_adds,
                "share": round(entry.parameters / max(1, teacher.parameters_count), 4),
            }
            for entry in describe(domain.shape, teacher.classes)
            if entry.parameters is not None
        ],
    }


def _outputs(teacher: Teacher) -> dict[str, str]:
    """What each output of the file holds, and so what becomes of it."""
    found = {}
    labels = {label.name for label in teacher.labels}
    for value in teacher.source.proto.graph.output:
        if value.name == teacher.output.name:
            found[value.name] = f"classes ({teacher.output.kind}{', as a map' if teacher.zipped else ''})"
        else:
            found[value.name] = "label of the winner" if value.name in labels else "not given by a student"
    return found


def _quantisation(teacher: Teacher) -> str | None:
    """How the weights are stored, where that is not float32."""
    for operator, kind in QUANTISED.items():
        if operator in teacher.layers.operators:
            return f"8-bit, {kind}"
    elements: dict[int, int] = {}
    for tensor in teacher.source.proto.graph.initializer:
        elements[tensor.data_type] = elements.get(tensor.data_type, 0) + math.prod(tensor.dims)
    most = max(elements, key=lambda kind: elements[kind], default=onnx.TensorProto.FLOAT)
    narrow = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    return onnx.TensorProto.DataType.Name(most).lower() if most in narrow else None


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


def _suits(name: str, teacher: Teacher) -> dict[str, Any]:
    """What a recipe needs, and whether the teacher has it."""
    recipe = load_recipe(name)
    needs = {requirement: holds(teacher, requirement) for requirement in recipe.needs}
    try:
        recipe.check(teacher)
    except UnsupportedTeacherError as error:
        return {"suits": False, "needs": needs, "why": str(error)}
    return {"suits": True, "needs": needs, "why": ""}
