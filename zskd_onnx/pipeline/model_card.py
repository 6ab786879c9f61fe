"""The model card of a run: a README.md with the front matter of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.recorded_run import Manifest, RecordedRun
from zskd_onnx.pipeline.verdict import verdict
from zskd_onnx.report.page import count, size
from zskd_onnx.report.shown_names import short_name
from zskd_onnx.system.files import write_text

TAG = "zskd-onnx"
"""Tag of every card, by which a card is told from a file of the user."""

TASKS = {"NCHW": "image-classification", "NHWC": "image-classification", "NF": "tabular-classification"}
"""Layout of the input -> task, as the Hub names it."""


def write_model_card(folder: Path) -> None:
    """Write ``README.md`` into the folder of a finished run; a README.md that is no card of this program stays.

    Raises:
        UsageError: the folder has no finished run, or a file is damaged.
    """
    path = folder / run_folder.CARD
    if not path.exists() or f"\n- {TAG}\n" in path.read_text(encoding="utf-8", errors="replace"):
        write_text(path, model_card(RecordedRun.read(folder).manifest))


def model_card(m: Manifest) -> str:
    """The card of a run."""
    name = f"{_plain(Path(m.sizes.teacher.path).stem)}-student"
    front = yaml.safe_dump(_front_matter(m, name), sort_keys=False, allow_unicode=True)
    body = "\n\n".join((f"# {name}", *_introduction(m), *_use(m), *_measured(m), *_limits(m), *_origin(m)))
    return f"---\n{front}---\n\n{body}\n"


def _front_matter(m: Manifest, name: str) -> dict[str, Any]:
    """The metadata of the card. Licence and base model are unknown, so they are left to the user."""
    task = TASKS.get(m.input.layout)
    results = []
    if m.accuracy is not None:
        data = Path(m.inputs["eval_data"].path).name if "eval_data" in m.inputs else "evaluation data"
        results.append(_result(task, data, "accuracy", "Accuracy", m.accuracy.student))
    results.append(_result(task, f"held-out {m.held_out.kind}", "agreement", "Agreement with the teacher", m.agreement))
    return {
        "library_name": "onnx",
        **({} if task is None else {"pipeline_tag": task}),
        "tags": ["onnx", "knowledge-distillation", "model-compression", TAG],
        "model-index": [{"name": name, "results": results}],
    }


def _result(task: str | None, data: str, kind: str, name: str, value: float) -> dict[str, Any]:
    return {
        "task": {"type": task or "other"},
        "dataset": {"name": _plain(data), "type": "other"},
        "metrics": [{"type": kind, "name": name, "value": round(value, 6)}],
    }


def _introduction(m: Manifest) -> Iterator[str]:
    teacher = _plain(Path(m.sizes.teacher.path).name)
    yield (
        f"A smaller classifier in the place of `{teacher}`. It has the same input, outputs and "
        f"{count(m.answers.classes)} classes. zskd-onnx {_plain(m.tool.version)} made it with the recipe "
        f"`{_plain(m.recipe.name)}`, trained on {_sources(m)}."
    )
    yield verdict(m)


def _sources(m: Manifest) -> str:
    """What the student was trained on."""
    synthetic = m.recipe.synthesis is not None or m.recipe.generator is not None or m.recipe.procedural is not None
    kinds = ["synthetic samples"] * synthetic + ["real samples"] * ("data" in m.inputs)
    return f"the teacher's predictions on {' and '.join(kinds)}"


def _use(m: Manifest) -> Iterator[str]:
    low, high = min(m.input_range.low), max(m.input_range.high)
    yield "## Use"
    yield (
        "```python\nimport numpy as np\nimport onnxruntime as ort\n\n"
        f'session = ort.InferenceSession("{run_folder.STUDENT}")\n'
        f"x = np.zeros({(1, *m.input.shape)}, dtype={_plain(m.input.dtype)!r})  # values from {low:g} to {high:g}\n"
        f"outputs = session.run(None, {{{_plain(m.input.name)!r}: x}})\n```"
    )


def _measured(m: Manifest) -> Iterator[str]:
    teacher, student, times = m.sizes.teacher, m.sizes.student, m.latency
    rows = [("", "teacher", "student"), ("---", "---:", "---:")]
    if m.accuracy is not None:
        samples = f"accuracy on {count(m.evaluation_samples or 0)} real samples"
        rows.append((samples, f"{m.accuracy.teacher:.4f}", f"{m.accuracy.student:.4f}"))
    rows += [
        (f"agreement on {count(m.held_out.samples)} held-out {_plain(m.held_out.kind)}", "", f"{m.agreement:.4f}"),
        ("parameters", count(teacher.parameters), count(student.parameters)),
        ("multiply-adds of a sample", count(teacher.multiply_adds), count(student.multiply_adds)),
        ("file size", size(teacher.bytes), size(student.bytes)),
        (
            f"latency ({_plain(times.conditions)})",
            f"{1000 * times.teacher.median:.3g} ms",
            f"{1000 * times.student.median:.3g} ms",
        ),
    ]
    yield "## Measured"
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _limits(m: Manifest) -> Iterator[str]:
    low, high = min(m.input_range.low), max(m.input_range.high)
    limits = []
    if "data" not in m.inputs:
        limits.append("The student never saw the data that the teacher was trained on.")
    if m.held_out.kind != "real samples":
        limits.append(f"Agreement on {_plain(m.held_out.kind)} is not accuracy on the data that the student will meet.")
    if m.accuracy is None:
        limits.append("Accuracy was not measured. Measure it on real, labelled samples before you deploy the student.")
    certain = m.input_range.certainty == "known"
    limits.append(
        f"The input range is {low:g} to {high:g} ({_plain(m.input_range.source)})."
        + ("" if certain else f" It is {_plain(m.input_range.certainty)}: in another range the student may be useless.")
    )
    limits += [f"Warning: {_plain(text, 400)}." for text in m.warnings]
    limits.append("The student inherits errors and biases of the teacher, and the terms of the teacher's licence.")
    yield "## Limits"
    yield "\n".join(f"- {text}" for text in limits)


def _origin(m: Manifest) -> Iterator[str]:
    yield "## Origin"
    yield (
        f"- [{run_folder.REPORT}]({run_folder.REPORT}) shows the run, [{run_folder.MANIFEST}]({run_folder.MANIFEST}) "
        f"has its figures, [{run_folder.RECIPE}]({run_folder.RECIPE}) every setting.\n"
        f"- SHA-256 of the teacher: `{_plain(m.teacher_sha256, 64)}`\n"
        f"- SHA-256 of the student: `{_plain(m.student_sha256, 64)}`"
    )


def _plain(text: str, longest: int = 80) -> str:
    """A text from a file of unknown origin without characters that Markdown or HTML read as markup."""
    return re.sub(r"[`<>\[\]|&\\]", "?", short_name(text, longest))
