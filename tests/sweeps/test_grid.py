"""The grid of a sweep."""

from __future__ import annotations

import pytest

from zskd_onnx import RecipeError, UsageError
from zskd_onnx.sweeps.grid import Run, run_grid


def test_grid_has_every_recipe_combination_and_seed() -> None:
    runs = run_grid(["zskd", "zskd-uniform"], ["distillation.epochs=1,2,3", "held_out=100,200"], seeds=2)
    assert len(runs) == 2 * 3 * 2 * 2
    assert len({(str(run), run.seed) for run in runs}) == len(runs)
    assert runs[0] == Run("zskd", {"distillation.epochs": 1, "held_out": 100}, 0)
    assert runs[-1] == Run("zskd-uniform", {"distillation.epochs": 3, "held_out": 200}, 1)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5,1", [0.5, 1]),
        ("[0.5,1],[1]", [[0.5, 1], [1]]),
        ("{a: 1, b: 2},3", [{"a": 1, "b": 2}, 3]),
        ("1e-3,1.0e-2", [0.001, 0.01]),
        ("true, end", [True, "end"]),
        ("50", [50]),
    ],
)
def test_commas_inside_brackets_do_not_separate_values(text: str, values: list[object]) -> None:
    assert [run.settings["key"] for run in run_grid(["zskd"], [f"key={text}"], 1)] == values


def test_run_resolves_to_its_recipe() -> None:
    settings = ["synthesis.resolution=[0.5,1],[1]", "synthesis.learning_rate=1e-1"]
    first, second = (run.resolve() for run in run_grid(["zskd"], settings, 1))
    assert first.synthesis.resolution == (0.5, 1)
    assert second.synthesis.resolution == (1,)
    assert first.synthesis.learning_rate == 0.1
    assert run_grid(["zskd"], [], 4)[3].resolve().seed == 3
    with pytest.raises(RecipeError, match="unknown key"):
        run_grid(["zskd"], ["synthesis.no=1"], 1)[0].resolve()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["epochs"], "expected key=value"),
        (["a.b="], "expected key=value"),
        (["a=[1"], "YAML"),
        (["a=1", "a=2"], "is repeated; give all values in one option"),
        (["seed=1,2"], "--seeds"),
    ],
)
def test_bad_settings(settings: list[str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        run_grid(["zskd"], settings, 1)
