"""The report of a run: one page that needs no other file, made from the run folder alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zskd_onnx.config.fields import as_yaml, recipe_fields
from zskd_onnx.errors import UsageError
from zskd_onnx.metrics.gates import Gate
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.quantization_result import ChangedWeights
from zskd_onnx.pipeline.recorded_run import Manifest, Quantized, RecordedRun
from zskd_onnx.pipeline.repeat_command import repeat_command
from zskd_onnx.pipeline.report_data import SHOWN_CLASSES, SHOWN_SAMPLES, Errors, Similarity, largest
from zskd_onnx.pipeline.run_settings import read_settings
from zskd_onnx.pipeline.verdict import verdict
from zskd_onnx.report.page import UNBROKEN, count, percent, picture_uri, render, size, times
from zskd_onnx.report.pictures import cell_size
from zskd_onnx.report.plots import Plot, confusion_figure, curve_figure, similarity_figure, to_plot
from zskd_onnx.system.files import write_text
from zskd_onnx.teacher.probes.answers import CONFIDENT

ROWS = 30
"""Largest number of classes in a table."""


def write_run_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder has no finished run, or a file is damaged.
    """
    run = RecordedRun.read(folder)
    settings = folder / run_folder.SETTINGS
    try:
        repeat = repeat_command(read_settings(settings))
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{settings}: damaged ({error!r}); make the run again with --overwrite") from error
    path = folder / run_folder.REPORT
    write_text(path, run_page(run, repeat))
    return path


def run_page(run: RecordedRun, repeat: str) -> str:
    """The report of a run as HTML; ``repeat`` is the command that repeats it."""
    m, data = run.manifest, run.data
    classes, drawn = m.answers.classes, 0 if data.similarity is None else len(data.similarity.matrix)
    if data.errors is not None:
        drawn = len(data.errors.confusion)
    limits = tuple(Gate(gate.gate, gate.limit, gate.value) for gate in m.gates)
    failed = m.missed_gates or any(not gate.passed for gate in limits)
    return render(
        "run.html",
        title=f"{Path(m.sizes.teacher.path).name} compressed",
        footer=f"Report of a run of zskd-onnx {m.tool.version}. Everything on this page is in this file.",
        m=m,
        tone="bad" if failed else "warn" if m.warnings else "good" if limits else "",
        verdict=verdict(m),
        gates=[_gate(gate) for gate in limits],
        figures=list(_figures(m)),
        quantized_figures=[] if m.quantization is None else list(_quantized_figures(m, m.quantization)),
        range=_range(m),
        classes=list(_shown_classes(run)),
        left_out=max(0, classes - SHOWN_CLASSES),
        cell=cell_size(_unit_shape(m)),
        sample_width=SHOWN_SAMPLES * (cell_size(_unit_shape(m))[1] + 6),
        answers=_answers(run),
        answers_left_out=max(0, classes - ROWS),
        similarity=None if data.similarity is None else _similarity(data.similarity, run.names),
        drawn=drawn,
        matrix_left_out=classes - drawn,
        curves=list(_curves(m)),
        errors=None if data.errors is None else _errors(data.errors, run.names),
        accuracy_left_out=max(0, classes - ROWS),
        recipe=list(_recipe(m.recipe.model_dump(mode="json"))),
        notes=[text for text in m.notes if text not in m.warnings],
        repeat=repeat,
    )


def _gate(gate: Gate) -> dict[str, Any]:
    """A gate in words, and whether it was passed."""

    def in_words(number: float) -> str:
        if gate.figure == "latency ratio":
            return f"{number:.2f}"
        return f"{100 * number:.2f} points" if gate.figure == "accuracy drop" else percent(number)

    verb = "passes" if gate.passed else "misses"
    return {
        "passed": gate.passed,
        "text": f"{gate.figure} of {in_words(gate.value)} {verb} the gate of {in_words(gate.limit)}",
    }


def _row(name: str, form: Callable[[Any], str], before: float, after: float) -> dict[str, str]:
    """A row of two figures, and how much smaller the second one is."""
    return {"name": name, "before": form(before), "after": form(after), "change": times(before, after)}


def _accuracy_row(before: float, after: float) -> dict[str, str]:
    """The row of two accuracies on real samples, and their difference."""
    change = f"{100 * (after - before):+.2f} points"
    return {"name": "accuracy on real samples", "before": percent(before), "after": percent(after), "change": change}


def _agreement_row(name: str, agreement: float) -> dict[str, str]:
    return {"name": name, "before": "", "after": percent(agreement), "change": ""}


def _figures(m: Manifest) -> Iterator[dict[str, str]]:
    """The rows of the table of teacher and student."""
    teacher, student = m.sizes.teacher, m.sizes.student
    yield _row("parameters", count, teacher.parameters, student.parameters)
    yield _row("file size", size, teacher.bytes, student.bytes)
    yield _row("multiply-adds", count, teacher.multiply_adds, student.multiply_adds)
    yield _row("latency", _milliseconds, m.latency.teacher.median, m.latency.student.median)
    if m.accuracy is not None:
        yield _accuracy_row(m.accuracy.teacher, m.accuracy.student)
    yield _agreement_row("agreement with the teacher", m.agreement)
    if m.confident.agreement is not None:
        least, share = f"{100 * CONFIDENT:.0f}{UNBROKEN}%", percent(m.confident.share)
        name = f"agreement where the teacher is at least {least} confident ({share} of samples)"
        yield _agreement_row(name, m.confident.agreement)


def _quantized_figures(m: Manifest, quantized: Quantized) -> Iterator[dict[str, str]]:
    """The rows of the table of the student and its quantised version."""
    yield _row("file size", size, m.sizes.student.bytes, quantized.quantized.bytes)
    yield _row("latency", _milliseconds, quantized.latency.before.median, quantized.latency.after.median)
    if quantized.accuracy is not None:
        yield _accuracy_row(quantized.accuracy.before, quantized.accuracy.after)
    if quantized.agreement is not None:
        name = f"agreement on {count(quantized.confident)} held-out samples of which the student is confident"
        yield _agreement_row(name, quantized.agreement)
    if (changed := quantized.changed_weights) is not None:
        done = ChangedWeights(changed.equalised, changed.steps, changed.agreement_before)
        yield _agreement_row(f"the same before the weights were {done}", changed.agreement_before)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def _range(m: Manifest) -> str:
    """The input range in words."""
    low, high = m.input_range.low, m.input_range.high
    if len(set(low)) == len(set(high)) == 1:
        return f"{low[0]:g} to {high[0]:g}"
    if len(low) > 4:
        return f"{min(low):g} to {max(high):g}, each feature its own"
    return "; ".join(f"channel {i}: {a:.4g} to {b:.4g}" for i, (a, b) in enumerate(zip(low, high, strict=False)))


def _unit_shape(m: Manifest) -> tuple[int, ...]:
    """The shape of a sample with its channels first."""
    *size, last = m.input.shape
    return (last, *size) if m.input.layout in ("NLC", "NHWC", "NDHWC") else m.input.shape


def _shown_classes(run: RecordedRun) -> Iterator[dict[str, Any]]:
    """Some classes with the samples of each."""
    samples, answers = run.data.samples, run.data.answers
    for number in largest(answers.counts, SHOWN_CLASSES):
        places = np.flatnonzero(samples.classes == number)[:SHOWN_SAMPLES]
        yield {
            "name": run.names[number],
            "confidence": float(answers.confidence[number]),
            "samples": [
                {"picture": picture_uri(samples.pictures[i]), "confidence": float(samples.confidence[i])}
                for i in places
            ],
        }


def _answers(run: RecordedRun) -> list[dict[str, Any]]:
    """The teacher's predictions by class."""
    answers = run.data.answers
    most = max(1, int(answers.counts.max()))
    return [
        {
            "name": run.names[i],
            "count": int(answers.counts[i]),
            "width": answers.counts[i] / most,
            "confidence": float(answers.confidence[i]) if answers.counts[i] else None,
            "agreement": answers.agreed[i] / answers.counts[i] if answers.counts[i] else None,
        }
        for i in largest(answers.counts, ROWS)
    ]


def _similarity(similarity: Similarity, names: list[str]) -> dict[str, Any]:
    """The plot of the matrix, and the most similar pairs."""
    drawn = names[: len(similarity.matrix)]
    return {
        "plot": to_plot(similarity_figure(similarity.matrix, drawn), "Matrix of the cosine similarity of the classes"),
        "pairs": [
            {"first": names[first], "second": names[second], "value": float(value)}
            for (first, second), value in zip(similarity.pairs, similarity.values, strict=True)
        ],
    }


def _curves(m: Manifest) -> Iterator[Plot]:
    """Loss, agreement and accuracy over the steps of each training stage."""
    for stage, validations in m.history.items():
        kept, name = m.chosen.get(stage), stage.capitalize()
        if losses := [(v.step, v.loss) for v in validations if np.isfinite(v.loss)]:
            figure = curve_figure({"loss": losses}, kept, f"{name}: loss", "soft-target loss", share=False)
            yield to_plot(figure, f"Loss over the steps of {stage}")
        agreement = [(v.step, v.agreement) for v in validations if v.agreement is not None]
        accuracy = [(v.step, v.accuracy) for v in validations if v.accuracy is not None]
        if agreement:
            curves = {"agreement": agreement, **({"accuracy on real samples": accuracy} if accuracy else {})}
            title = f"{name}: agreement{' and accuracy' if accuracy else ''}"
            yield to_plot(curve_figure(curves, kept, title, "%", share=True), f"{title}, over the steps")


def _errors(errors: Errors, names: list[str]) -> dict[str, Any]:
    """Accuracy by class, all classes or the worst of many; the confusion matrix; the most frequent errors."""
    samples, teacher, student = (
        column.astype(float) for column in (errors.samples, errors.teacher_right, errors.student_right)
    )
    shares = np.divide(student, samples, out=np.ones_like(student), where=samples > 0)
    drawn = names[: len(errors.confusion)]
    figure = confusion_figure(errors.confusion, drawn, "The student's predictions")
    return {
        "plot": to_plot(figure, "Confusion matrix of the student"),
        "rows": [
            {
                "name": names[i],
                "samples": int(samples[i]),
                "teacher": teacher[i] / samples[i] if samples[i] else None,
                "student": student[i] / samples[i] if samples[i] else None,
            }
            for i in largest(-shares, ROWS)
        ],
        "frequent": [
            {"true": names[true], "predicted": names[predicted], "count": int(times)}
            for true, predicted, times in errors.frequent
        ],
    }


def _recipe(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of a recipe, each with its fields, their values and meanings."""
    sections = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in content.items() if key not in sections and value is not None}
    described = {key: value for key, value in plain.items() if key not in ("name", "summary", "paper")}
    yield {"name": "general", "fields": list(_fields("", described, ""))}
    for name, section in sections.items():
        yield {"name": name, "fields": list(_fields(f"{name}.", section, str(section.get("kind", ""))))}


def _fields(prefix: str, content: Mapping[str, Any], kind: str) -> Iterator[dict[str, str]]:
    """The fields of a section and of those in it."""
    for key, value in content.items():
        if isinstance(value, Mapping) and key != "mixture":
            yield from _fields(f"{prefix}{key}.", value, kind)
            continue
        alternatives = recipe_fields().get(f"{prefix}{key}", [])
        fitting = [field for field in alternatives if kind in field.kinds.split(", ")] or alternatives
        text = fitting[0].description.replace("``", "") if fitting else ""
        yield {
            "name": f"{prefix}{key}".partition(".")[2] if prefix else key,
            "value": as_yaml(value),
            "description": text[:1].upper() + text[1:],
        }
