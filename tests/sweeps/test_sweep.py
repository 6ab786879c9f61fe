"""Whole sweeps: failures, shared transfer sets, continuation."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import SMALL, Exports
from zskd_onnx import RecipeError, Sweep, UsageError, ZskdError, compress, sweep
from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event
from zskd_onnx.pipeline.plan import prepare

SETTINGS = [setting for setting in SMALL if not setting.startswith("distillation")]


@pytest.fixture(scope="module")
def finished(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two settings of distillation, and a recipe that needs what the teacher lacks."""
    data = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(data, x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20) % 10)
    return sweep(
        digits_file,
        tmp_path_factory.mktemp("finished") / "out",
        recipes=["deep-inversion", "best"],
        settings=[*SETTINGS, "distillation.epochs=1,2"],
        eval_data=data,
    )


def test_failed_run_is_a_row(finished: Sweep) -> None:
    assert [row.run.recipe for row in finished.rows] == ["deep-inversion", "deep-inversion", "best", "best"]
    for row in finished.rows[:2]:
        assert row.error is not None
        assert "needs batch-normalisation statistics" in row.error
        assert row.agreement is None
    finished.check()


def test_tables_have_the_figures_of_the_manifests(finished: Sweep) -> None:
    with (finished.folder / "sweep.csv").open() as file:
        lines = list(csv.DictReader(file))
    content = json.loads((finished.folder / "sweep.json").read_text())
    assert content["schema_version"] == 2
    assert len(lines) == len(content["runs"]) == 4
    assert len(content["summary"]) == 4
    for line, run in zip(lines[2:], content["runs"][2:], strict=True):
        manifest = json.loads((Path(run["folder"]) / "manifest.json").read_text())
        assert int(line["distillation.epochs"]) == manifest["recipe"]["distillation"]["epochs"]
        assert float(line["agreement"]) == run["agreement"] == manifest["agreement"]
        assert float(line["student_accuracy"]) == manifest["accuracy"]["student"]
        assert float(line["parity"]) == manifest["parity"]["max_abs_difference"]
        assert line["seed"] == "0"
    assert (finished.folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_shared_transfer_set_gives_the_same_student(finished: Sweep, digits_file: Path, tmp_path: Path) -> None:
    folders = [Path(row.folder) for row in finished.rows if row.folder is not None]
    assert [(folder / "transfer-set").is_dir() for folder in folders] == [True, False]
    single = compress(digits_file, tmp_path / "out", overrides=[*SETTINGS, "distillation.epochs=2"], seed=0)
    assert (folders[1] / "student.onnx").read_bytes() == single.student.read_bytes()


def test_transfer_set_that_is_larger_than_needed_is_shared(digits_file: Path, tmp_path: Path) -> None:
    """Batches of 64 give more samples than a run uses; no run uses the rest."""
    settings = ["synthesis.count=100", "synthesis.batch_size=64", "synthesis.iterations=1", "held_out=100"]
    result = sweep(digits_file, tmp_path / "out", settings=[*settings, "distillation.epochs=1,2"])
    [shared] = result.folder.glob("runs/*/transfer-set")
    assert TransferSet.open(shared).count == 256
    single = compress(digits_file, tmp_path / "single", overrides=[*settings, "distillation.epochs=2"], seed=0)
    assert result.rows[1].folder is not None
    assert (Path(result.rows[1].folder) / "student.onnx").read_bytes() == single.student.read_bytes()


def test_transfer_sets_of_different_sizes_are_not_shared(digits_file: Path, tmp_path: Path) -> None:
    """Equal batches contain both, but each run uses as many samples as its recipe says."""
    settings = ["synthesis.batch_size=64", "synthesis.iterations=1", "held_out=100", "distillation.epochs=1"]
    result = sweep(digits_file, tmp_path / "out", settings=[*settings, "synthesis.count=100,110"])
    assert len(list(result.folder.glob("runs/*/transfer-set"))) == 2


def test_without_a_recipe_runs_have_that_of_compress(exports: Exports, tmp_path: Path) -> None:
    teacher = exports.path("lenet5", "dynamo")
    settings = ["synthesis.count=100", "synthesis.iterations=1", "held_out=100", "distillation.epochs=1"]
    events: list[Event] = []
    result = sweep(
        teacher,
        tmp_path / "out",
        settings=settings,
        student="lenet5-half",
        listener=events.append,
        allow_degenerate=True,  # its weights are random
    )
    result.check()
    assert [row.run.recipe for row in result.rows] == [prepare(teacher, student="lenet5-half").recipe.name]
    assert result.rows[0].run.recipe != DEFAULT_RECIPE
    assert any("recipe zskd-images, for drawings" in event.text for event in events)


@pytest.mark.parametrize("rounds", [0, 1])
def test_transfer_sets_of_competing_rounds_are_not_shared(exports: Exports, tmp_path: Path, rounds: int) -> None:
    """They depend on how students are trained between the rounds."""
    settings = ["synthesis.count=100", "synthesis.batch_size=50", "synthesis.iterations=1", "held_out=100"]
    result = sweep(
        exports.path("wrn", "17"),
        tmp_path / "out",
        recipes=["deep-inversion"],
        settings=[*settings, f"synthesis.competing_rounds={rounds}", "distillation.epochs=1,2"],
        allow_degenerate=True,  # its weights are random
    )
    assert all(row.error is None for row in result.rows)
    assert len(list(result.folder.glob("runs/*/transfer-set"))) == 1 + rounds


def test_larger_grid_repeats_no_run(finished: Sweep, digits_file: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.glob("runs/*/student.onnx")}
    events: list[Event] = []
    data = tmp_path / "copy.npz"
    np.savez(data, x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20) % 10)
    grown = sweep(
        digits_file,
        finished.folder,
        settings=[*SETTINGS, "distillation.epochs=2,1,3"],
        eval_data=data,
        listener=events.append,
    )
    assert [row.run.settings["distillation.epochs"] for row in grown.rows] == [2, 1, 3]
    assert all(row.error is None for row in grown.rows)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [event.text for event in events if event.kind == "note" and "run 3 of 3" in event.text]
    assert not [event.text for event in events if "run 1 of 3" in event.text]


def test_equal_runs_are_made_once(finished: Sweep, digits_file: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = sweep(
        digits_file,
        tmp_path / "out",
        recipes=["best", "deep-inversion", "best", "deep-inversion"],
        settings=[*SETTINGS, "distillation.epochs=1,1.0,1"],
        listener=events.append,
    )
    assert [(row.run.recipe, row.run.settings["distillation.epochs"]) for row in result.rows] == [
        ("best", 1),
        ("deep-inversion", 1),
    ]
    assert [summary.seeds for summary in result.summaries] == [1, 0]
    assert len(list(result.folder.glob("runs/*"))) == 1
    assert [event.total for event in events if event.stage == "sweep" and event.kind == "done"] == [2]


def test_runs_are_repeated_when_pictures_change(digits_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def picture(name: str) -> None:
        Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(tmp_path / "pictures" / name)

    def runs() -> int:
        settings = ["procedural.level_lines=1", "procedural.pen_strokes=0", "distillation.epochs=1"]
        settings += ["distillation.epoch_samples=256", "held_out=100"]
        result = sweep(
            digits_file, tmp_path / "out", recipes=["procedural"], settings=settings, pictures=tmp_path / "pictures"
        )
        assert [row.error for row in result.rows] == [None]
        return len(list(tmp_path.glob("out/runs/*/student.onnx")))

    (tmp_path / "pictures").mkdir()
    picture("a.png")
    assert (runs(), runs()) == (1, 1)
    picture("b.png")
    assert runs() == 2


@pytest.mark.parametrize("changed", ["student", "version"])
def test_runs_are_repeated_after_a_change(
    digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    own = tmp_path / "own.py"
    text = "from zskd_onnx.students.zoo.architecture import STUDENTS\nfactory = STUDENTS['cnn-small'].build\n"

    def run() -> int | None:
        settings = [*SETTINGS, "distillation.epochs=1"]
        [row] = sweep(digits_file, tmp_path / "out", settings=settings, student=f"{own}:factory").rows
        assert row.error is None
        return row.parameters

    own.write_text(text)
    small = run()
    if changed == "student":
        own.write_text(text.replace("cnn-small", "cnn"))
    else:
        monkeypatch.setattr("zskd_onnx.pipeline.fingerprint.__version__", "99")
    assert (run() == small) == (changed == "version")
    assert len(list(tmp_path.glob("out/runs/*/student.onnx"))) == 2


def test_sweep_whose_runs_all_fail(digits_file: Path, tmp_path: Path) -> None:
    result = sweep(digits_file, tmp_path / "out", recipes=["deep-inversion"], seeds=2)
    with pytest.raises(ZskdError, match="all 2 runs failed"):
        result.check()


def test_output_folder_that_is_a_file(digits_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("of the user")
    with pytest.raises(UsageError, match="is a file"):
        sweep(digits_file, tmp_path / "out")


def test_killed_sweep_continues(digits_file: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """SIGKILL arrives in the synthesis of the second run, after its first shard."""
    torch.set_num_threads(1)
    settings = ("synthesis.count=4000", "synthesis.iterations=10", "held_out=100", "distillation.epochs=1")
    command = [sys.executable, "-m", "zskd_onnx", "sweep", str(digits_file), "--seeds", "2", "--output", "out"]
    for setting in settings:
        command += ["--set", setting]
    runs = tmp_path / "out" / "runs"

    def second_run_has_a_shard() -> bool:
        return any('"count"' in path.read_text() for path in runs.glob("*seed1*/transfer-set/index.json"))

    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        while not second_run_has_a_shard():
            assert process.poll() is None, "the sweep ended before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    [first] = runs.glob("*seed0*/student.onnx")
    [shard] = runs.glob("*seed1*/transfer-set/shard-00000000.safetensors")
    written = {path: path.stat().st_mtime_ns for path in (first, shard)}
    rows = json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]
    assert [row["seed"] for row in rows] == [0]
    assert not list(runs.glob("*seed1*/student.onnx"))

    done = subprocess.run([*command, "--format", "json"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["runs"]
    assert [(row["seed"], row["error"]) for row in rows] == [(0, None), (1, None)]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    whole = compress(digits_file, tmp_path / "whole", overrides=settings, seed=1)
    assert (tmp_path / rows[1]["folder"] / "student.onnx").read_bytes() == whole.student.read_bytes()


@pytest.mark.parametrize(
    ("recipes", "setting"), [(["best", "unknown"], "distillation.epochs=1"), (["best"], "distillation.epochs=1,abc")]
)
def test_recipes_are_validated_before_any_run(
    digits_file: Path, tmp_path: Path, recipes: list[str], setting: str
) -> None:
    with pytest.raises(RecipeError):
        sweep(digits_file, tmp_path / "out", recipes=recipes, settings=[*SETTINGS, setting])
    assert not (tmp_path / "out").exists()


def test_processes_that_run_the_same_sweep_share_its_runs(
    digits_file: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Each run is made by one of them, and both print the whole table."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [sys.executable, "-m", "zskd_onnx", "sweep", str(digits_file), "-o", str(tmp_path / "out"), *settings]
    command += ["--seeds", "3", "--set", "distillation.epochs=1", "--format", "json"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(stdout) for stdout, _ in outputs)
    assert first == second
    assert [run["seed"] for run in first["runs"]] == [0, 1, 2]
    starts = [line for _, stderr in outputs for line in stderr.splitlines() if "run " in line and " of 3: " in line]
    assert len(starts) == 3
    assert not list((tmp_path / "out").glob(".*.lock"))
