"""Plots, which need matplotlib: the extra ``plots``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zskd_onnx.errors import MissingExtraError
from zskd_onnx.system.files import written_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float, float]
"""Where on the x axis, the mean there, and its deviation."""


def check_matplotlib() -> None:
    """Raise MissingExtraError where matplotlib is not installed."""
    _figure()


def draw_transitions(student: Sequence[float], teacher: Sequence[float], path: Path) -> None:
    """The mean curves of belief matching, as a PNG (ABM, figure 3).

    Args:
        student, teacher: probability of the class that is walked to, after each step.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _axes(path) as axes:
        for name, curve in (("student", student), ("teacher", teacher)):
            axes.plot(range(1, len(curve) + 1), curve, label=name)
        axes.set(xlabel="gradient steps on the student", ylabel="mean probability of the other class", ylim=(0, 1))
        axes.legend()


def draw_sweep(lines: Mapping[str, Sequence[Point]], field: str, measure: str, path: Path) -> None:
    """A measure over the values of a field, as a PNG; a line each, deviations as bars.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _axes(path) as axes:
        for name, points in lines.items():
            x, means, deviations = zip(*sorted(points), strict=True)
            axes.errorbar(x, means, yerr=deviations, marker="o", capsize=3, label=name)
        axes.set(xlabel=field, ylabel=measure)
        axes.legend()


@contextmanager
def _axes(path: Path) -> Iterator[Axes]:
    """Axes to draw on; the file appears when they are left."""
    figure = _figure()
    yield figure.subplots()
    with written_beside(path) as partial:
        figure.savefig(partial, format="png", dpi=150)


def _figure() -> Figure:
    """A figure outside pyplot, which would keep it, and look for a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib, which is not installed; pip install 'zskd-onnx[plots]'"
        ) from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
