"""The figures of a finished run that trackers record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zskd_onnx.pipeline.result import CompressionResult


def final_figures(result: CompressionResult) -> dict[str, float]:
    """Name -> value; what was not measured is left out."""
    figures: dict[str, float | None] = {
        "agreement": result.agreement,
        "confident_agreement": result.confident_agreement,
        "teacher_parameters": result.teacher_size.parameters,
        "student_parameters": result.student_size.parameters,
        "teacher_bytes": result.teacher_size.bytes,
        "student_bytes": result.student_size.bytes,
        "teacher_multiply_adds": result.teacher_size.multiply_adds,
        "student_multiply_adds": result.student_size.multiply_adds,
        **{f"seconds_{stage.replace('-', '_')}": seconds for stage, seconds in result.seconds.items()},
    }
    if result.accuracy is not None:
        figures |= {"teacher_accuracy": result.accuracy.teacher, "student_accuracy": result.accuracy.student}
    if result.latency is not None:
        figures["latency_ratio"] = result.latency.ratio
    return {name: float(value) for name, value in figures.items() if value is not None}
