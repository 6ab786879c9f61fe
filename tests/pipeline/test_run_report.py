"""The report of a run: what it says, from which files, for whom nothing is trusted."""

from __future__ import annotations

import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.pipeline.run_folders import HOSTILE, edited, with_classes
from zskd_onnx import CompressionResult, UsageError, write_report
from zskd_onnx.pipeline.recorded_run import RecordedRun
from zskd_onnx.pipeline.verdict import verdict

WITHOUT_END = {"meta", "link", "img", "br", "source"}


class Page(HTMLParser):
    """Reads a page, and asserts that its tags are nested rightly."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split()).replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "embed")
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def test_a_run_writes_its_report(finished: CompressionResult) -> None:
    page = Page(finished.student.parent / "report.html")
    manifest = json.loads(finished.manifest.read_text())
    sizes = manifest["sizes"]
    assert "digits_teacher.onnx compressed" in page.text
    for text in (
        f"{100 * finished.agreement:.2f} % of 100 held-out synthesised samples; its accuracy was not measured.",
        "Agreement is not accuracy",
        f"parameters {sizes['teacher']['parameters']:,} {sizes['student']['parameters']:,}",
        f"multiply-adds {sizes['teacher']['multiply_adds']:,} {sizes['student']['multiply_adds']:,}",
        "0 to 16 known",
        "no quality gate was set",
        "most similar classes",
        "distillation",
        "Passes over the stored samples.",
        manifest["teacher_sha256"],
        manifest["student_sha256"],
        "zskd-onnx compress",
        f"onnxruntime {manifest['tool']['onnxruntime']}",
    ):
        assert text in page.text, text
    assert all(source.startswith("data:") for source in page.sources)
    assert "Accuracy by class" not in page.text


def test_the_report_is_made_from_the_folder_alone(finished: CompressionResult, tmp_path: Path) -> None:
    before = (finished.student.parent / "report.html").read_bytes()
    folder = edited(finished, tmp_path / "moved")
    begin = time.perf_counter()
    path = write_report(str(folder))
    assert time.perf_counter() - begin < 5
    assert path == folder / "report.html"
    assert path.read_bytes() == before


@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_many_classes_and_hostile_names(finished: CompressionResult, tmp_path: Path, classes: int) -> None:
    path = write_report(with_classes(finished, tmp_path / "out", classes))
    page = Page(path)
    assert path.stat().st_size < 1_000_000
    assert HOSTILE[:39] in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert all(source.startswith("data:") for source in page.sources)
    assert ("are left out" in page.text) == (classes > 12)
    if classes == 1000:
        assert "The 12 classes with the most samples; 988 are left out." in page.text
        assert "The plot has the first 100 of 1,000 classes; 900 are left out." in page.text
        assert "The 30 classes with the most samples; 970 are left out." in page.text
    assert page.text.index("Warnings") < page.text.index("Input") < page.text.index("Class similarity")


def manifest_with(finished: CompressionResult, tmp_path: Path, **changes: object) -> RecordedRun:
    return RecordedRun.read(edited(finished, tmp_path / "out", **changes))


def test_the_verdict_claims_what_was_measured(finished: CompressionResult, tmp_path: Path) -> None:
    manifest = manifest_with(
        finished,
        tmp_path,
        accuracy={"teacher": 0.99, "student": 0.5},
        evaluation_agreement=0.5,
        evaluation_samples=1234,
    ).manifest
    text = verdict(manifest).replace("\N{NO-BREAK SPACE}", " ")
    assert text == "On 1,234 real samples, the student's accuracy is 50.00 % and the teacher's 99.00 %."
    assert manifest.gates == ()


@pytest.mark.parametrize(
    ("gate", "tone", "text"),
    [
        (
            {"gate": "min_agreement", "limit": 0.9, "value": 0.5},
            "bad",
            "agreement of 50.00 % misses the gate of 90.00 %",
        ),
        (
            {"gate": "min_agreement", "limit": 0.5, "value": 0.5},
            "good",
            "agreement of 50.00 % passes the gate of 50.00 %",
        ),
        (
            {"gate": "max_latency_ratio", "limit": 0.5, "value": 0.7},
            "bad",
            "latency ratio of 0.70 misses the gate of 0.50",
        ),
    ],
)
def test_gates(finished: CompressionResult, tmp_path: Path, gate: dict[str, object], tone: str, text: str) -> None:
    page = write_report(edited(finished, tmp_path / "out", gates=[gate], warnings=[]))
    assert f'class="verdict {tone}"' in page.read_text()
    assert text in Page(page).text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, r"manifest\.json: damaged, or of another version \(schema_version"),
        ({"agreement": "much"}, "agreement: Input should be a valid number"),
        ({"agreement": float("nan")}, "agreement: Input should be"),
        ({"agreement": 7}, "less than or equal to 1"),
        ({"accuracy": {"teacher": 1, "student": 1}}, "accuracy without evaluation_samples"),
        ({"class_names": ["a"]}, "1 class names for 10 classes"),
        ({"answers": {"classes": 11}, "class_names": None}, r"report\.npz: missing or damaged"),
        ({"answers": {"classes": 10**9}}, "answers.classes"),
        ({"history": [1]}, "history: Input should be a valid dictionary"),
        ({"history": {"\x00": []}}, "history"),
        ({"seed": 10**400}, "is out of range"),
        (
            {"input_range": {"low": [], "high": [], "source": "", "certainty": ""}},
            r"input_range\.low: .* at least 1 item",
        ),
        ({"recipe": {"name": "x"}}, r"recipe\.summary: Field required"),
        ({"tool": {}}, r"tool\.version: Field required"),
    ],
)
def test_a_damaged_manifest(
    finished: CompressionResult, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = edited(finished, tmp_path / "out", **changes)
    with pytest.raises(UsageError, match=message) as raised:
        write_report(folder)
    assert "\n" not in str(raised.value)
    assert not (folder / "report.html").exists()


def test_losses_that_overflowed_and_names_that_are_no_text(finished: CompressionResult, tmp_path: Path) -> None:
    for number, losses in enumerate(([float("nan"), 0.5], [float("inf")])):
        history = [{"step": step, "loss": loss, "agreement": 0.5} for step, loss in enumerate(losses)]
        folder = tmp_path / str(number)
        edited(finished, folder, history={"distillation": history}, warnings=["\ud800 \udcff"])
        assert "Warnings ? ?" in Page(write_report(folder)).text


def test_a_folder_without_a_finished_run(finished: CompressionResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no finished run \(it has no manifest\.json\).*--resume"):
        write_report(tmp_path)
    for name in ("manifest.json", "run.json", "report.npz"):
        folder = tmp_path / name
        shutil.copytree(finished.student.parent, folder)
        (folder / name).write_text("[")
        with pytest.raises(UsageError, match=re.escape(str(folder / name))):
            write_report(folder)
    settings = tmp_path / "report.npz" / "run.json"
    for content in ({}, {"teacher": 1, "fix": 1}):
        folder = tmp_path / f"settings-{len(content)}"
        shutil.copytree(finished.student.parent, folder)
        settings = folder / "run.json"
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "options": content, "asked": {}}))
        with pytest.raises(UsageError, match="damaged"):
            write_report(folder)
