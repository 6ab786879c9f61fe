"""Plots, and the error without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zskd_onnx import MissingExtraError
from zskd_onnx.report.plots import check_matplotlib, draw_sweep, draw_transition_curves


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


def test_a_missing_matplotlib_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'zskd-onnx\[plots\]'"):
        check_matplotlib()
    with pytest.raises(MissingExtraError):
        draw_transition_curves([0.1], [0.1], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []
