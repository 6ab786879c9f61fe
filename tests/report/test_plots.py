"""Plots: their colours, and names from files of unknown origin."""

from __future__ import annotations

import base64
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from zskd_onnx.report.plots import (
    DARK,
    INK,
    confusion_figure,
    curve_figure,
    draw_similarity,
    draw_sweep,
    draw_transition_curves,
    similarity_figure,
    to_plot,
)


def colours(path: Path) -> set[tuple[int, ...]]:
    """Colours with more than 100 pixels, without shades of grey."""
    distinct, counts = np.unique(np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, c)) for c, n in zip(distinct, counts, strict=True) if n > 100 and np.ptp(c) > 50}


def test_transitions_have_two_curves(tmp_path: Path) -> None:
    draw_transition_curves([0.1, 0.5, 0.9], [0.1, 0.3, 0.4], tmp_path / "curves.png")
    assert len(colours(tmp_path / "curves.png")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_sweep_has_a_line_per_recipe(tmp_path: Path) -> None:
    lines = {name: [(2.0, 0.9 - n, 0.1), (1.0, 0.8 - n, 0.0)] for n, name in enumerate(("zskd", "noise", "mvn"))}
    draw_sweep(lines, "prior.sigma", "agreement", tmp_path / "sweep.png")
    assert len(colours(tmp_path / "sweep.png")) == 3


def svg(uri: str) -> str:
    return base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()


HOSTILE = ["</text><script>alert(1)</script>", "$\\frac{1}$", "a\x00b\x1b[31m", "猫", "x" * 500, "&amp;"]


@pytest.mark.parametrize("names", [HOSTILE, [str(n) for n in range(100)], ["only"]])
def test_a_matrix_of_any_names_is_well_formed(names: list[str]) -> None:
    matrix = np.random.default_rng(0).uniform(-1, 1, (len(names), len(names))).astype(np.float32)
    counts = np.ones((len(names), len(names)), np.int64)
    for figure in (similarity_figure(matrix, names), confusion_figure(counts, names, "Confusion")):
        plot = to_plot(figure, "a matrix")
        for image in (svg(plot.light), svg(plot.dark)):
            root = ElementTree.fromstring(image)
            assert not [e for e in root.iter() if e.tag.endswith("script")]
            assert len(image) < 200_000
    if names == HOSTILE:
        assert "$\\frac{1}$" in svg(plot.light)
        assert "猫" in svg(plot.light)


def test_a_dark_page_gets_other_colours_and_the_same_lines() -> None:
    points = {"agreement": [(100, 0.5), (200, 0.9)]}
    plot = to_plot(curve_figure(points, 200, "Distillation", "%", share=True), "agreement over steps")
    assert svg(plot.light).count(INK) == svg(plot.dark).count(DARK[INK]) > 0
    assert INK not in svg(plot.dark)
    assert "kept: step 200" in svg(plot.light)
    assert svg(plot.light).count("<path") == svg(plot.dark).count("<path")


def test_the_same_plot_is_the_same_file() -> None:
    points = {"loss": [(1, 0.5), (2, 0.25)]}
    first, second = (to_plot(curve_figure(points, None, "Loss", "loss", share=False), "") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("classes", [1, 3, 100, 1001])
def test_similarity_is_shown_by_colour(tmp_path: Path, classes: int) -> None:
    similarity = np.eye(classes)
    if classes > 1:
        similarity[0, 1] = similarity[1, 0] = -1
        similarity[0, 2] = similarity[2, 0] = 1
    draw_similarity(similarity, [str(n) for n in range(classes)], tmp_path / "matrix.png")
    if classes == 3:
        assert {(33, 102, 172), (178, 24, 43)} <= colours(tmp_path / "matrix.png")
