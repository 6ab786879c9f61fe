"""What ``compress`` prints."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SMALL_OPTIONS, Cli
from zskd_onnx import CompressionResult
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Event, Listener
from zskd_onnx.pipeline.demo import held_out_digits


def test_compress_prints_one_json_object(run: Cli, tmp_path: Path, digits_file: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20) % 10)
    done = run(
        *("compress", digits_file, "--output", "out", *SMALL_OPTIONS),
        *("--eval-data", "data.npz", "--seed", "3", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema_version"] == 2
    assert (tmp_path / result["student"]).is_file()
    assert set(result["parity"]) == {"max_abs_difference", "tolerance"}
    assert 0 <= result["agreement"] <= 1
    assert 0 < result["confident"]["share"] < 1
    assert 0 <= result["confident"]["agreement"] <= 1
    assert set(result["accuracy"]) == {"teacher", "student"}
    assert set(result["chosen"]) == {"distillation"}
    assert result["accuracy"]["teacher"] == pytest.approx(0.1)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["seed"] == 3
    assert result["latency"]["ratio"] == result["latency"]["student"]["median"] / result["latency"]["teacher"]["median"]
    assert "synthesis" in done.stderr


def test_a_missed_gate_is_named_in_the_json_object(run: Cli, digits_file: Path) -> None:
    gates = ("--min-agreement", "0.01", "--max-latency-ratio", "0.0001")
    done = run("compress", digits_file, "-o", "out", *SMALL_OPTIONS, *gates, "--format", "json")
    assert done.returncode == 5
    result = json.loads(done.stdout)
    assert {gate["gate"]: gate["passed"] for gate in result["gates"]} == {
        "min_agreement": True,
        "max_latency_ratio": False,
    }
    assert len(result["missed_gates"]) == 1
    needy = run("compress", digits_file, "-o", "other", *SMALL_OPTIONS, "--max-accuracy-drop", "0.01")
    assert needy.returncode == 2
    assert "deployment.max_accuracy_drop needs samples" in needy.stderr


def test_compress_prints_the_path_and_a_table(run: Cli, tmp_path: Path, digits_file: Path) -> None:
    x, y = held_out_digits()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    gate = ("--min-agreement", "1", "--eval-data", "data.npz")
    done = run("compress", digits_file, "-o", "out", *SMALL_OPTIONS, *gate)
    assert done.returncode == 5
    lines = done.stdout.splitlines()
    assert lines[0] == str(Path("out") / "student.onnx")
    rows = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in lines[1:]}
    assert [name for name in rows if not name.startswith("warning")] == [
        "accuracy",
        "agreement",
        "answers",
        "best step (distillation)",
        "parity",
        "parameters",
        "multiply-adds",
        "file size",
        "latency",
        "time",
        "report",
    ]
    assert rows["answers"].endswith("in the range 0..16 (file metadata)")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    history, step = manifest["history"]["distillation"], manifest["chosen"]["distillation"]
    [accuracy] = [entry["accuracy"] for entry in history if entry["step"] == step]
    best = max(entry["accuracy"] for entry in history)
    assert rows["best step (distillation)"] == (
        f"{step} of {history[-1]['step']}: accuracy {100 * accuracy:.2f} %, the best of all steps {100 * best:.2f} %"
    )
    confident = manifest["confident"]
    assert rows["agreement"].endswith(
        f"; {100 * confident['agreement']:.2f} % on the {100 * confident['share']:.0f} % "
        "of them with a teacher confidence of at least 90 %"
    )
    assert (tmp_path / "out" / "student.onnx").is_file()
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("option", "lines"),
    [
        ("--quiet", []),
        ("-q", []),
        ("--verbose", ["note", "1 of 9", "2 of 9", "3 of 9"]),
        ("--overwrite", ["note", "1 of 9"]),
    ],
)
def test_quiet_and_verbose(
    run: Cli, digits_file: Path, monkeypatch: pytest.MonkeyPatch, option: str, lines: list[str]
) -> None:
    def report(*arguments: object, listener: Listener, **options: object) -> None:
        warnings.warn("old", DeprecationWarning, stacklevel=1) if option in ("-q", "--quiet") else None
        listener(Event("note", "teacher", "note"))
        for step in (1, 2, 3):
            listener(Event("progress", "distillation", "", step, 9))
        raise UsageError("the end")

    monkeypatch.setattr("zskd_onnx.pipeline.compress.compress", report)
    done = run("compress", digits_file, option)
    *progress, last = done.stderr.splitlines()
    assert last == "error: the end"
    assert len(progress) == len(lines)
    assert all(text in line for text, line in zip(lines, progress, strict=True))


def test_an_unexpected_error(run: Cli, digits_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("zskd_onnx.pipeline.compress.compress", fail)
    done = run("compress", digits_file)
    assert done.returncode == 1
    assert done.stderr == (
        "error: unexpected RuntimeError: broken; run the command with --verbose for the traceback, and report it\n"
    )
    verbose = run("compress", digits_file, "--verbose", "--format", "json")
    assert "Traceback" in verbose.stderr
    assert json.loads(verbose.stdout)["error"]["type"] == "RuntimeError"


def test_a_dry_run_looks_at_the_transfer_set(run: Cli, digits_file: Path, finished: CompressionResult) -> None:
    dry = ("compress", digits_file, "--dry-run", "--transfer-set")
    missing = run(*dry, "nothing")
    assert missing.returncode == 2
    assert "nothing" in missing.stderr
    done = run(*dry, finished.student.parent / "transfer-set", *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "synthesis (estimate)" not in done.stdout
    assert "distillation (estimate)" in done.stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_a_dry_run_trains_and_writes_nothing(run: Cli, tmp_path: Path, digits_file: Path, as_json: bool) -> None:
    done = run("compress", digits_file, "--dry-run", "--set", "seed=5", *(["--format", "json"] if as_json else []))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    if as_json:
        plan = json.loads(done.stdout)["plan"]
        assert plan["recipe"]["seed"] == 5
        assert plan["estimate"]["synthesis"] > 0
        assert plan["estimate"]["distillation"] > 0
        assert plan["student"]["name"] == "thin:0.5"
    else:
        assert "seed: 5" in done.stdout
        assert "0 to 16" in done.stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_a_dry_run_says_what_is_a_bound(run: Cli, digits_file: Path, as_json: bool) -> None:
    done = run(
        "compress", digits_file, "--dry-run", "-r", "class-impressions", *(["--format", "json"] if as_json else [])
    )
    assert done.returncode == 0, done.stderr
    if as_json:
        assert json.loads(done.stdout)["plan"]["estimate_at_most"] == ["synthesis"]
    else:
        estimates = {line.split()[0]: line for line in done.stdout.splitlines() if "(estimate)" in line}
        assert "at most" in estimates["synthesis"]
        assert "at most" not in estimates["distillation"]


def test_a_target_in_place_of_a_student(run: Cli, digits_file: Path) -> None:
    done = run("compress", digits_file, "--dry-run", "--target-params", "25%")
    assert done.returncode == 0, done.stderr
    assert "thin:0.5 of the teacher's widths: 7,666 parameters, the target is 8,001 (25% of the teacher)" in done.stdout
    assert "student: thin:0.5" in done.stdout
    for words, message in (
        (("--target-params", "10"), "the smallest that is reachable is 57 parameters"),
        (("--target-latency", "2"), "--target-latency '2': expected a duration such as 2ms"),
        (("--target-size", "9kB", "--student", "cnn"), "--target-size and --student exclude each other"),
    ):
        wrong = run("compress", digits_file, "--dry-run", *words)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        assert message in wrong.stderr
