"""Smoke runs: every stage at toy size, and nothing that stays."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Cli, Exports
from zskd_onnx import CompressionResult, Event, RecipeError, UsageError, compress, load_recipe, prepare
from zskd_onnx.config.files import recipe_names
from zskd_onnx.pipeline.resolve import lacking
from zskd_onnx.pipeline.smoke import toy_plan
from zskd_onnx.synthesis.base import Synthesis
from zskd_onnx.teacher.load import load_teacher


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def of_recipe(teacher: Path, recipe: str, data: Path | None, **options: object) -> CompressionResult:
    needs_data = "data" in load_recipe(recipe).requires
    return compress(teacher, "nowhere", recipe=recipe, data=data if needs_data else None, smoke=True, **options)


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe(digits_file: Path, digits_data: Path, exports: Exports, recipe: str) -> None:
    """Of the bundled teacher, or of another where that one lacks what a recipe needs; data where the recipe takes some."""
    lacks = lacking(load_recipe(recipe), load_teacher(digits_file)) is not None
    teacher, data = (exports.path("wrn", "17"), None) if lacks else (digits_file, digits_data)
    begin = time.monotonic()
    stages: set[str] = set()
    result = of_recipe(teacher, recipe, data, eval_data=data, listener=lambda event: stages.add(event.stage))
    assert time.monotonic() - begin < 60
    expected = load_recipe(recipe)
    assert {"distillation", "deployment"} <= stages
    assert ("synthesis" in stages) is (expected.synthesis is not None)
    assert ("fine-tuning" in result.history) is (expected.fine_tuning is not None)
    assert result.smoke
    assert not result.student.exists()
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("recipe", [name for name in recipe_names() if "data" in load_recipe(name).requires])
def test_a_recipe_that_needs_data_says_so(digits_file: Path, recipe: str) -> None:
    with pytest.raises(UsageError, match="--data"):
        compress(digits_file, "nowhere", recipe=recipe, smoke=True)


def test_both_stages_and_a_quantised_student(digits_file: Path, scratch: Path, tmp_path: Path) -> None:
    """A gate that no student reaches is not judged, and an earlier run in the output folder stays as it is."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "student.onnx").write_bytes(b"earlier")
    events: list[Event] = []
    result = compress(
        digits_file,
        output,
        overrides=["fine_tuning.epochs=1000", "deployment.min_agreement=1", "deployment.quantize=int8"],
        smoke=True,
        overwrite=True,
        time_budget="1h",
        listener=events.append,
    )
    result.check()
    assert {"distillation", "fine-tuning"} == set(result.history)
    assert result.gates == ()
    assert result.quantization is not None
    assert result.quantization.missed_gates == ()
    assert (output / "student.onnx").read_bytes() == b"earlier"
    assert list(scratch.iterdir()) == []
    assert "smoke run" in repr(result)
    assert result.to_dict()["student"] is None


def test_what_is_written_says_what_it_is(digits_file: Path, scratch: Path, tmp_path: Path) -> None:
    """The page and the card, which a run that is killed leaves in the temporary folder."""
    texts: dict[str, str] = {}

    def look(event: Event) -> None:
        if event.kind == "done" and event.stage == "deployment":
            for name in ("report.html", "README.md", "manifest.json"):
                texts[name] = next(scratch.rglob(name)).read_text(encoding="utf-8")

    compress(digits_file, tmp_path / "out", recipe="procedural", smoke=True, listener=look)
    assert "This is a smoke run" in texts["report.html"]
    assert "This is a smoke run" in texts["README.md"]
    manifest = json.loads(texts["manifest.json"])
    assert manifest["smoke"] is True
    assert manifest["recipe"]["distillation"]["epochs"] == load_recipe("procedural").distillation.epochs


def test_faults_of_the_run_are_found(digits_file: Path, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(UsageError, match="--overwrite replaces"):
        compress(digits_file, tmp_path / "used", smoke=True)
    with pytest.raises(UsageError, match="exclude each other"):
        compress(None, tmp_path / "used", smoke=True, resume=True)
    with pytest.raises(RecipeError):
        compress(digits_file, tmp_path / "out", smoke=True, overrides=["nothing=1"])
    with pytest.raises(RuntimeError, match="stop") as stopped:
        compress(digits_file, tmp_path / "out", smoke=True, listener=_stop)
    assert not hasattr(stopped.value, "__notes__")  # there is nothing to resume
    assert list(scratch.iterdir()) == []


def _stop(event: Event) -> None:
    raise RuntimeError("stop")


def test_sizes_follow_the_cost(digits_file: Path) -> None:
    """A teacher of the cost of ResNet-50 makes fewer passes in all than fit into half a minute."""
    for recipe in ("zskd", "class-impressions"):
        plan = prepare(digits_file, recipe=recipe, overrides=["fine_tuning.epochs=1"])
        costly = replace(plan, multiply_adds=4 * 10**9)
        small, large = (toy_plan(each).recipe for each in (costly, plan))
        assert small.distillation.batch_size < large.distillation.batch_size
        assert isinstance(small.synthesis, Synthesis)
        passes = small.synthesis.passes * (small.synthesis.count + small.held_out)
        steps = sum(stage.steps(0) * stage.batch_size for stage in small.stages.values())
        assert (passes + steps) * costly.multiply_adds < 30 * 2e10


def test_the_option(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    done = run("compress", digits_file, "--smoke")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("This is a smoke run")
    assert "agreement" not in done.stdout
    assert "latency" in done.stdout
    assert list(tmp_path.iterdir()) == []
    both = run("compress", digits_file, "--smoke", "--dry-run")
    assert both.returncode == 2
    assert "--dry-run and --smoke exclude each other" in both.stderr
    as_json = run("compress", digits_file, "--smoke", "--format", "json", "-q")
    assert json.loads(as_json.stdout)["smoke"] is True
