"""Checks of a recipe's names that need no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from zskd_onnx.config.content import check_names, expect_key, read_content
from zskd_onnx.config.files import all_recipe_names, recipe_text
from zskd_onnx.errors import RecipeError, UsageError


@pytest.mark.parametrize("name", all_recipe_names())
def test_built_in_recipes_have_known_names(name: str) -> None:
    check_names(name, ["seed=3", "fine_tuning.epochs=3", "distillation.mixture.generator=1", "data.per_class=3"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["epochs=5"], r"--set epochs: unknown key \(did you mean distillation\.epochs or fine_tuning\.epochs\?\)"),
        (["distilation.epochs=5"], r"--set distilation: unknown key \(did you mean distillation\?\)"),
        (["synthesis.kind=impresions"], "--set synthesis.kind: unknown kind 'impresions'; did you mean 'impressions'"),
        (["prior.kind=cauchy"], "unknown kind 'cauchy'; expected dirichlet, normal or one_hot"),
        (["lr=1", "count=3"], r"--set lr: .*; --set count: unknown key \(did you mean synthesis\.count\?\)"),
        (["distillation.epochs=20,50"], r"--set distillation.epochs=20,50: .*'zskd-onnx sweep'.* \[20,50\]"),
        (["epochs"], "expected key=value"),
    ],
)
def test_unknown_names(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_names("zskd", overrides)


def test_faults_of_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text("zskd") + "\ncolour: red\n")
    with pytest.raises(RecipeError, match=rf"^{path}: colour: unknown key .*; --set lr: unknown key"):
        check_names(path, ["lr=1"])


def test_an_endless_recipe_ends(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("distillation: &a {distillation: *a, epochs: *a}\n")
    with pytest.raises(RecipeError, match=r"distillation\.distillation: unknown key"):
        check_names(path)


def test_the_suffix_of_a_file_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(recipe_text("zskd"))
    Path("best.yaml").write_text(recipe_text("noise"))
    for name in ("./mine", "mine", tmp_path / "mine"):
        assert read_content(name).values["name"] == "zskd"
    assert read_content("best").values["name"] == "best"  # a built-in name comes first
    assert read_content("./best").values["name"] == "noise"
    with pytest.raises(RecipeError, match=r"recipe '\./none': expected .* or a \.yaml file"):
        read_content("./none")


def test_a_text_may_hold_commas() -> None:
    assert read_content("zskd", ["summary=a, b"]).values["summary"] == "a, b"


def test_expect_key() -> None:
    expect_key("distillation.epochs")
    expect_key("distillation")
    with pytest.raises(UsageError, match=r"key 'epochs': .* did you mean distillation\.epochs"):
        expect_key("epochs")
