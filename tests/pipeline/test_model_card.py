"""The model card, read by the Hub's own library and run as its example says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.conftest import SMALL
from zskd_onnx import CompressionResult, compress
from zskd_onnx.pipeline.model_card import model_card, write_model_card
from zskd_onnx.pipeline.recorded_run import RecordedRun


@pytest.fixture(scope="module")
def folder(digits_file: Path, digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that was scored on real samples."""
    output = tmp_path_factory.mktemp("card") / "out"
    return compress(digits_file, output, overrides=SMALL, eval_data=digits_data).student.parent


def test_the_hub_reads_the_front_matter(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (card.data.library_name, card.data.pipeline_tag) == ("onnx", "image-classification")
    assert "knowledge-distillation" in card.data.tags
    assert card.data.model_name == "digits_teacher-student"
    accuracy, agreement = card.data.eval_results
    assert (accuracy.metric_type, accuracy.dataset_name) == ("accuracy", "digits.npz")
    assert accuracy.metric_value == pytest.approx(manifest["accuracy"]["student"], abs=1e-6)
    assert (agreement.metric_type, agreement.dataset_name) == ("agreement", "held-out synthesised samples")
    assert agreement.metric_value == manifest["agreement"]
    assert card.data.license is None


def test_it_says_what_was_not_measured(folder: Path, finished: CompressionResult) -> None:
    scored, unscored = ((path / "README.md").read_text() for path in (folder, finished.student.parent))
    for text in (scored, unscored):
        assert "not accuracy on the data that the student will meet" in text
        assert "never saw the data that the teacher was trained on" in text
    assert "Accuracy was not measured" in unscored
    assert "Accuracy was not measured" not in scored
    assert [result.metric_type for result in ModelCard(unscored).data.eval_results] == ["agreement"]


def test_its_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)
    names: dict[str, object] = {}
    exec(code[0], names)
    assert names["outputs"][0].shape == (1, 10)  # type: ignore[index]


def test_names_from_the_teachers_file_are_no_markup(folder: Path) -> None:
    m = RecordedRun.read(folder).manifest
    sizes = m.sizes.model_copy(
        update={"teacher": m.sizes.teacher.model_copy(update={"path": "<b>`|[a](b)\n---\n.onnx"})}
    )
    text = model_card(m.model_copy(update={"sizes": sizes, "warnings": ("```\n# a heading <b>",)}))
    assert not re.search(r"<b>|\[a\]", text)
    assert text.count("\n# ") == 1
    assert ModelCard(text).data.model_name == "?b????a?(b) ----student"


def test_a_readme_of_the_user_stays(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("---\nstale\n- zskd-onnx\n---\n")
    write_model_card(copy)
    assert (copy / "README.md").read_text() == (folder / "README.md").read_text()
    (copy / "README.md").write_text("# Notes of zskd-onnx\n")
    write_model_card(copy)
    assert (copy / "README.md").read_text() == "# Notes of zskd-onnx\n"
