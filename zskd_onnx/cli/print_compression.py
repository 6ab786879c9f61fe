"""What ``compress`` and ``demo`` print: the plan of a run, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zskd_onnx.cli.choices import Format
from zskd_onnx.cli.quantize import quantization_rows
from zskd_onnx.cli.results import (
    between,
    duration,
    latency_rows,
    percent,
    print_json,
    print_result,
    print_table,
)

if TYPE_CHECKING:
    from zskd_onnx.pipeline.estimate import Estimate
    from zskd_onnx.pipeline.plan import Plan
    from zskd_onnx.pipeline.result import CompressionResult


def print_plan(plan: Plan, estimated: Estimate, shortages: Sequence[str], format: Format) -> None:
    """Print the plan of a run; ``shortages``: what the machine lacks for it, a sentence each."""
    from zskd_onnx.report.page import size  # here, because it would slow down every help page

    takes = estimated.footprint
    if format == Format.JSON:
        expected = {
            "estimate": estimated.seconds,
            "estimate_range": {stage: list(ends) for stage, ends in estimated.ranges.items()},
            "estimate_at_most": list(estimated.at_most),
            "memory_bytes": takes.memory,
            "disk_bytes": takes.disk,
            "shortages": list(shortages),
        }
        print_json({"plan": {**plan.to_dict(), **expected}})
        return
    for note in plan.notes:
        print(note)
    times = {
        f"{stage} (estimate)": f"at most {duration(high)}" if stage in estimated.at_most else between(low, high)
        for stage, (low, high) in estimated.ranges.items()
    }
    space = {"memory (estimate)": size(takes.memory), "disk (estimate)": size(takes.disk)}
    print_table({**times, **space, **{f"warning {n}": text for n, text in enumerate(shortages, 1)}})
    print()
    print(plan.recipe_yaml(), end="")


def print_compression(result: CompressionResult, format: Format) -> None:
    """Print the result of a run. As text, the first line is the path of the student and nothing else.

    A smoke run has no student to name; its first line says that it was a smoke run.
    """
    if result.smoke:
        from zskd_onnx.pipeline.result import SMOKE  # here, because it would slow down every help page

        if format == Format.TEXT:
            print(SMOKE)
        print_result(result.to_dict(), smoke_rows(result), format)
        return
    if format == Format.TEXT:
        print(result.student)
    print_result(result.to_dict(), result_rows(result), format)


def smoke_rows(result: CompressionResult) -> dict[str, str]:
    """The rows of a result that are true of a run in earnest, too."""
    true = ("parity", "parameters", "multiply-adds", "file size", "latency", "time")
    rows = {name: text for name, text in result_rows(result).items() if name in true or name.startswith("warning")}
    if (quantization := result.quantization) is not None:
        before, after = quantization.float_file.bytes, quantization.quantized_file.bytes
        rows[f"{quantization.form} file size"] = f"{before:,} -> {after:,} bytes"
    return rows


def result_rows(result: CompressionResult) -> dict[str, str]:
    """The table of a run's result."""
    teacher, student, accuracy = result.teacher_size, result.student_size, result.accuracy
    rows = {}
    if accuracy is not None:
        figures = f"teacher {percent(accuracy.teacher)}, student {percent(accuracy.student)}"
        rows["accuracy"] = "; ".join([figures, *accuracy.remarks])
    agreement = f"{percent(result.agreement)} on held-out synthesised samples"
    if result.confident_agreement is not None:
        agreement += (
            f"; {percent(result.confident_agreement)} on the {100 * result.confident:.0f} % "
            "of them with a teacher confidence of at least 90 %"
        )
    rows["agreement"] = agreement
    rows["answers"] = f"{result.answers}, {result.domain.words}"
    for stage, validations in result.history.items():
        if validations:
            rows[f"best step ({stage})"] = best_step(validations, result.chosen[stage])
    if (quantization := result.quantization) is not None:
        rows[quantization.form] = quantization.quantized_file.path
        rows |= {f"{quantization.form} {name}": text for name, text in quantization_rows(quantization).items()}
    for number, warning in enumerate(result.warnings, 1):
        rows[f"warning {number}" if len(result.warnings) > 1 else "warning"] = warning
    return {
        **rows,
        "parity": f"{result.parity.max_abs_difference:.2g} difference between torch and onnxruntime "
        f"(tolerance {result.parity.tolerance:.2g})",
        "parameters": _reduction(teacher.parameters, student.parameters),
        "multiply-adds": f"{_reduction(teacher.multiply_adds, student.multiply_adds)} per sample",
        "file size": f"{teacher.bytes:,} -> {student.bytes:,} bytes",
        **latency_rows(result.latency),
        "time": ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.seconds.items()),
        "report": str(result.report),
    }


def _reduction(teacher: int, student: int) -> str:
    """A figure of teacher and student, and by how much it is smaller."""
    ratio = teacher / max(1, student)
    comparison = f"{ratio:.1f} times fewer" if ratio >= 1 else "more than the teacher; choose a smaller --student"
    return f"{teacher:,} -> {student:,} ({comparison})"


def best_step(validations: list[dict[str, Any]], step: int) -> str:
    """The step whose weights were kept, with its accuracy on the evaluation data and the best of all steps."""
    text = f"{step:,} of {validations[-1]['step']:,}"
    accuracies = {entry["step"]: entry["accuracy"] for entry in validations if "accuracy" in entry}
    if step not in accuracies:  # without evaluation data, no step has one
        return text
    return f"{text}: accuracy {percent(accuracies[step])}, the best of all steps {percent(max(accuracies.values()))}"
