"""Plots. They need matplotlib, which the extra ``plots`` installs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zskd_onnx.errors import MissingExtraError
from zskd_onnx.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float, float]
"""Position on the x axis, mean, and standard deviation."""


def check_matplotlib() -> None:
    """Raise MissingExtraError if matplotlib is not installed."""
    _figure()


def draw_transition_curves(student: Sequence[float], teacher: Sequence[float], path: Path) -> None:
    """Write the mean curves of belief matching as a PNG (ABM, figure 3).

    Args:
        student, teacher: mean probability of the other class after each step, by student and teacher.
        path: the PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _axes(path) as axes:
        for name, curve in (("student", student), ("teacher", teacher)):
            axes.plot(range(1, len(curve) + 1), curve, label=name)
        axes.set(xlabel="gradient steps on the student", ylabel="mean probability of the other class", ylim=(0, 1))
        axes.legend()


def draw_sweep(lines: Mapping[str, Sequence[Point]], field: str, metric: str, path: Path) -> None:
    """Write a plot of a metric over the values of a recipe field as a PNG, with standard deviations as bars.

    Args:
        lines: points of each line, by its name.
        field: the recipe field, on the x axis.
        metric: the metric, on the y axis.
        path: the PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _axes(path) as axes:
        for name, points in lines.items():
            x, means, deviations = zip(*sorted(points), strict=True)
            axes.errorbar(x, means, yerr=deviations, marker="o", capsize=3, label=name)
        axes.set(xlabel=field, ylabel=metric)
        axes.legend()


@contextmanager
def _axes(path: Path) -> Iterator[Axes]:
    """Axes to draw on; the file is written when the context ends."""
    figure = _figure()
    yield figure.subplots()
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=150)


def _figure() -> Figure:
    """A figure without pyplot, which would store the figure and look for a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib, which is not installed; run pip install 'zskd-onnx[plots]'"
        ) from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
