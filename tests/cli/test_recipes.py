"""The commands that list, show, copy, validate and explain recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.test_help import LIGHT
from tests.conftest import Cli
from zskd_onnx.config.files import AS_PUBLISHED, all_recipe_names, recipe_names, recipe_text
from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.recipe import Recipe

FAULTY = "name: a\nsummary: b\nprior: {kind: dirichlet, betta: 1}\nsynthesis: {kind: impressions, countt: 3}\nx: 1\n"

BATCH_NORM = recipe_text("deep-inversion")


def test_list(run: Cli) -> None:
    content = json.loads(run("recipes", "list", "--format", "json").stdout)
    assert [entry["name"] for entry in content["recipes"]] == all_recipe_names()
    assert set(content["recipes"][0]) == {"name", "summary", "paper", "requires", "as_published"}
    published = [entry["name"] for entry in content["recipes"] if entry["as_published"]]
    assert published == recipe_names(AS_PUBLISHED)
    text = run("recipes", "list").stdout
    [line] = [line for line in text.splitlines() if line.endswith("(default for other inputs)")]
    assert line.split()[0] == content["defaults"]["other"] == "best"
    assert content["defaults"] == {"natural_images": "boundary", "drawings": "zskd-images", "other": "best"}
    everyday, _, others = text.partition("With the settings of their papers")
    assert all(f"{name} " in others and f"{name} " not in everyday for name in published)


def test_show_a_built_in_recipe(run: Cli) -> None:
    assert run("recipes", "show", "zskd").stdout == recipe_text("zskd")
    full = yaml.safe_load(run("recipes", "show", "zskd", "--full").stdout)
    assert full == load_recipe("zskd").model_dump(mode="json")
    assert json.loads(run("recipes", "show", "zskd", "--format", "json").stdout)["recipe"] == full


def test_show_a_file(run: Cli, tmp_path: Path) -> None:
    text = f"# mine\n{recipe_text('zskd')}"
    (tmp_path / "mine.yaml").write_text(text)
    assert run("recipes", "show", "mine.yaml").stdout == text
    assert run("recipes", "show", "mine.yaml", "--full").stdout == load_recipe("zskd").to_yaml()
    done = run("recipes", "show", "none.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.yaml" in done.stderr
    assert "did you mean 'zskd'" in run("recipes", "show", "zksd").stderr


def test_copy(run: Cli, tmp_path: Path) -> None:
    assert run("recipes", "copy", "zskd").stdout == "zskd.yaml\n"
    assert (tmp_path / "zskd.yaml").read_text() == recipe_text("zskd")
    again = run("recipes", "copy", "zskd")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    done = run("recipes", "copy", "best", "zskd.yaml", "--overwrite", "--format", "json")
    assert json.loads(done.stdout)["path"] == "zskd.yaml"
    assert (tmp_path / "zskd.yaml").read_text() == recipe_text("best")
    nowhere = run("recipes", "copy", "zskd", "none/zskd.yaml")
    assert (nowhere.returncode, "parent folder does not exist" in nowhere.stderr) == (2, True)


def test_validate(run: Cli) -> None:
    done = run("recipes", "validate", "zskd")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["recipe    zskd: valid", "requires  head"]
    content = json.loads(run("recipes", "validate", "zskd", "--format", "json").stdout)
    assert content == {"schema_version": 2, "recipe": "zskd", "valid": True, "requires": ["head"]}


def test_all_faults_at_once(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FAULTY)
    done = run("recipes", "validate", "mine.yaml", "--format", "json")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for fault in ("prior.betta: unknown key", "synthesis.countt: unknown key", "x: unknown key"):
        assert fault in done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "RecipeError"


def test_a_teacher_that_suits(run: Cli, digits_file: Path) -> None:
    done = run("recipes", "validate", "zskd", "--teacher", digits_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"teacher   {digits_file}: suits"
    content = json.loads(run("recipes", "validate", "zskd", "--teacher", digits_file, "--format=json").stdout)
    assert content["teacher"] == {"path": str(digits_file), "suits": True}


def test_a_teacher_that_does_not_suit(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(BATCH_NORM)
    assert run("recipes", "validate", "mine.yaml").returncode == 0
    done = run("recipes", "validate", "mine.yaml", "--teacher", digits_file)
    assert (done.returncode, done.stdout) == (3, "")
    assert "synthesis.kind" in done.stderr
    missing = run("recipes", "validate", "zskd", "--teacher", "none.onnx")
    assert (missing.returncode, "none.onnx: no such file" in missing.stderr) == (2, True)


@pytest.mark.filterwarnings("default::FutureWarning")
def test_an_old_key_is_a_warning_on_one_line(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(f"{recipe_text('noise')}\ninit: fresh\n")
    done = run("recipes", "validate", "old.yaml")
    assert done.returncode == 0
    assert done.stderr.startswith('warning: old.yaml: write init: "random"')
    assert done.stderr.count("\n") == 1
    assert run("recipes", "validate", "old.yaml", "--quiet").stderr == ""


def test_schema(run: Cli) -> None:
    schema = json.loads(run("recipes", "schema").stdout)
    assert schema.pop("$schema").startswith("https://json-schema.org/")
    assert schema == Recipe.model_json_schema()
    assert schema["properties"]["held_out"]["description"]


def test_explain_a_field(run: Cli) -> None:
    done = run("recipes", "explain", "distillation.epochs")
    rows = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in done.stdout.splitlines()}
    assert rows["key"] == "distillation.epochs"
    assert rows["type"].startswith("integer above 0")
    assert rows["default"] == str(Recipe.model_fields["distillation"].default.epochs)
    assert rows["description"]
    assert {f"in {name}" for name in recipe_names()} < set(rows)
    assert rows["in zskd"] == str(load_recipe("zskd").distillation.epochs)


def test_explain_as_json(run: Cli) -> None:
    content = json.loads(run("recipes", "explain", "synthesis.count", "--format", "json").stdout)
    assert content["key"] == "synthesis.count"
    assert content["fields"][0]["type"].startswith("integer")
    assert content["recipes"]["zskd"] == load_recipe("zskd").synthesis.count
    assert "kd" not in content["recipes"]  # it has no synthesis


def test_explain_kinds_of_a_section(run: Cli) -> None:
    text = run("recipes", "explain", "synthesis.batch_size").stdout
    assert "type (impressions, noise)" in text
    assert "type (deep-inversion)" in text


def test_explain_a_section(run: Cli) -> None:
    text = run("recipes", "explain", "deployment").stdout
    assert [line for line in text.splitlines() if line.startswith("keys")] == [
        "keys         opset, min_agreement, min_accuracy, max_accuracy_drop, max_latency_ratio, quantize, "
        "min_quantized_agreement"
    ]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("distillation.epoch", "did you mean distillation.epochs"),
        ("epochs", "did you mean distillation.epochs or fine_tuning.epochs?"),
        ("qqqqqqqq", "'zskd-onnx recipes schema' lists all keys"),
    ],
)
def test_explain_suggests_the_nearest_key(run: Cli, key: str, hint: str) -> None:
    done = run("recipes", "explain", key, "--format", "json")
    assert done.returncode == 2
    assert f"key '{key}': a recipe has no such key; {hint}" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["recipes", "list"],
        ["recipes", "show", "best"],
        ["recipes", "explain", "epochs"],
        ["compress", "none.onnx"],
        ["compress", __file__, "--set", "epochs=3"],
        ["compress", __file__, "--set", "synthesis.kind=impresions"],
        ["compress", __file__, "--recipe", "bset"],
        ["compress", __file__, "--student", "lenet"],
        ["compress", __file__, "--eval-data", __file__],
        ["compress", __file__, "--input-range", "255"],
        ["sweep", __file__, "--set", "synthesis.countt=1,2"],
        ["evaluate", __file__, "--teacher", __file__, "--eval-data", __file__],
    ],
    ids=lambda words: " ".join(words).replace(__file__, "FILE"),
)
def test_what_needs_no_torch_loads_none(words: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, env=environment)
    heavy = done.stderr.splitlines()[-1]
    assert heavy.startswith("heavy: ")
    assert "torch" not in heavy
    assert "onnx" not in heavy
