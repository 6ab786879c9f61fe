"""Plots by matplotlib, as PNG files and as SVG for a page that is light or dark."""

from __future__ import annotations

import base64
import functools
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from zskd_onnx.report.shown_names import short_name
from zskd_onnx.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Point = tuple[float, float, float]
"""Position on the x axis, mean, and standard deviation."""

INK, MUTED, GRID = "#1f2733", "#5c6675", "#d5dae2"
"""Colours of text, axes and grid lines on a light page."""

LINES = ("#2463c4", "#b8530d", "#227a4b", "#8a3d9e", "#a3283c", "#4d5b6b")
"""Colours of curves on a light page."""

BLUE, RED = "#2166ac", "#b2182b"
"""Colours of a matrix, on every page."""

SIGNED = ((0.0, BLUE), (0.5, f"{BLUE}00"), (0.5, f"{RED}00"), (1.0, RED))
SHARE = ((0.0, f"{BLUE}00"), (1.0, BLUE))
"""Colour scales of matrices: position and colour. They are transparent at 0, so that the page shows through."""

DARK = {
    INK: "#e4e8ee",
    MUTED: "#9aa5b4",
    GRID: "#39424f",
    **dict(zip(LINES, ("#7fb0f5", "#f0a467", "#6cc598", "#cf97df", "#ee8a9a", "#aab6c4"), strict=True)),
}
"""Colour on a light page -> colour on a dark page."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "zskd-onnx",
    "text.parse_math": False,  # a dollar sign in a name is one
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}

SIDE = 3.9
"""Width of a plot in a page, inches: it fits on a phone as it is."""

NAMED = 24
"""Largest number of classes whose names stand beside a matrix; more get their numbers, and not each."""

MOST = 1000
"""Largest number of classes in a picture of a matrix."""

NUMBERED = 12
"""Largest number of classes whose matrix shows a number in each cell."""


@dataclass(frozen=True)
class Plot:
    """A plot as two SVG images, each a data URI.

    Attributes:
        light, dark: for a light and a dark page.
        text: what it shows, for those who cannot see it.
    """

    light: str
    dark: str
    text: str


def _styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function with the style of all plots; a font without the letters of a class's name gives no warning."""

    @functools.wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        from matplotlib import rc_context  # here, because it takes half a second

        with rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")
            return draw(*args, **kwargs)

    return styled


@_styled
def draw_transition_curves(student: Sequence[float], teacher: Sequence[float], path: Path) -> None:
    """Write the mean curves of belief matching as a PNG (ABM, figure 3).

    Args:
        student, teacher: mean probability of the other class after each step, by student and teacher.
        path: the PNG file.
    """
    figure, axes = _figure((6, 4))
    for name, curve, colour in (("student", student, LINES[0]), ("teacher", teacher, LINES[1])):
        axes.plot(range(1, len(curve) + 1), curve, label=name, color=colour)
    axes.set(
        title="Belief matching",
        xlabel="gradient steps on the student",
        ylabel="mean probability of the other class",
        ylim=(0, 1),
    )
    axes.legend()
    _write_png(figure, path)


def draw_sweep(lines: Mapping[str, Sequence[Point]], field: str, metric: str, path: Path) -> None:
    """Write ``sweep_figure`` as a PNG."""
    _write_png(sweep_figure(lines, field, metric, (6, 4)), path)


@_styled
def sweep_figure(lines: Mapping[str, Sequence[Point]], field: str, metric: str, size: tuple[float, float]) -> Figure:
    """A metric over the values of a recipe field, with standard deviations as bars.

    Args:
        lines: points of each line, by its name.
        field: the recipe field, on the x axis.
        metric: the metric, on the y axis.
        size: width and height, inches.
    """
    figure, axes = _figure(size)
    for number, (name, points) in enumerate(lines.items()):
        x, means, deviations = zip(*sorted(points), strict=True)
        colour = LINES[number % len(LINES)]
        axes.errorbar(
            x, means, yerr=deviations, marker="o", markersize=4, capsize=3, label=short_name(name), color=colour
        )
    axes.set(xlabel=field, ylabel=metric, title=f"{metric[:1].upper()}{metric[1:]} by {field}")
    axes.grid(axis="y", linewidth=0.6)
    axes.legend()
    return figure


@_styled
def draw_similarity(similarity: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Write ``similarity_figure`` as a PNG, larger for more classes, of which at most ``MOST`` are drawn."""
    figure = similarity_figure(similarity[:MOST, :MOST], names[:MOST], min(10.0, max(4.0, 0.45 * len(similarity))))
    if len(similarity) > MOST:
        figure.axes[0].set_title(f"Class similarity, first {MOST:,} of {len(similarity):,}")
    _write_png(figure, path)


@_styled
def similarity_figure(similarity: np.ndarray, names: Sequence[str], side: float = SIDE) -> Figure:
    """The class-similarity matrix without its diagonal, which is 1, beside its colour scale.

    Args:
        similarity: (K, K) in [-1, 1].
        names: K names.
        side: of the figure, inches.
    """
    off_diagonal = np.ma.masked_array(similarity, np.eye(len(similarity), dtype=bool))
    limit = max(0.1, float(np.abs(off_diagonal).max())) if len(similarity) > 1 else 0.1
    figure, axes = _figure((side, 0.88 * side))
    _draw_matrix(figure, axes, off_diagonal, (-limit, limit), SIGNED, "cosine similarity")
    _name_classes(axes, names)
    _number_cells(axes, off_diagonal, [f"{value:.2f}" for value in similarity.flat], full=0.75 * limit)
    axes.set(title="Class similarity")
    return figure


@_styled
def confusion_figure(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """A confusion matrix: the share of each true class that is predicted as each class, beside its colour scale.

    Args:
        counts: number of samples (K, K); rows are true classes, columns predicted ones.
        names: K names.
    """
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    figure, axes = _figure((SIDE, 0.88 * SIDE))
    _draw_matrix(figure, axes, shares, (0, 1), SHARE, "share of the true class")
    _name_classes(axes, names)
    _number_cells(axes, shares, [f"{count}" if count else "" for count in counts.flat], full=0.75)
    axes.set(title=title, xlabel="predicted class", ylabel="true class")
    return figure


@_styled
def curve_figure(
    curves: Mapping[str, Sequence[tuple[int, float]]], chosen: int | None, title: str, ylabel: str, *, share: bool
) -> Figure:
    """Curves over training steps, with a mark at the step whose weights were kept.

    Args:
        curves: name -> points (step, value).
        chosen: the step that was kept, or None.
        share: whether the values are fractions in [0, 1], drawn as percentages.
    """
    figure, axes = _figure((SIDE, 3.0))
    for (name, points), colour in zip(curves.items(), LINES, strict=False):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, np.multiply(values, 100 if share else 1), label=name, color=colour, marker=".", markersize=5)
    if chosen is not None:
        axes.axvline(chosen, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"kept: step {chosen:,}")
    axes.set(title=title, xlabel="training step", ylabel=ylabel)
    axes.grid(axis="y", linewidth=0.6)
    figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    return figure


@_styled
def to_plot(figure: Figure, text: str) -> Plot:
    """A figure as SVG for a page; ``text`` says what it shows."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    light = content.getvalue().decode("utf-8")
    dark = light
    for colour, instead in DARK.items():
        dark = dark.replace(colour, instead)
    return Plot(_data_uri(light), _data_uri(dark), text)


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure without pyplot, which would store the figure and look for a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Names beside the rows and under the columns, or numbers where there are many."""
    places = range(len(names))
    if len(names) > NAMED:
        places = range(0, len(names), -(-len(names) // 10))
        labels = [str(place) for place in places]
    else:
        labels = [short_name(name, 14) for name in names]
    size = 8 if len(labels) <= NUMBERED else 6.5
    upright = max(map(len, labels)) <= 2
    axes.set_xticks(places, labels, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(places, labels, fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_matrix(
    figure: Figure,
    axes: Axes,
    values: np.ndarray,
    limits: tuple[float, float],
    colours: Sequence[tuple[float, str]],
    label: str,
) -> None:
    """A matrix, and its colour scale on the right."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list(label, colours)
    image = axes.imshow(values, cmap=scale, vmin=limits[0], vmax=limits[1], interpolation="none")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label=label)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # else lines show between its parts


def _number_cells(axes: Axes, values: np.ndarray, texts: Sequence[str], full: float) -> None:
    """Texts in the cells of a small matrix; they are white on the strong colours of values above ``full``."""
    if len(values) > NUMBERED:
        return
    for (row, column), text in zip(np.ndindex(values.shape), texts, strict=True):
        if values[row, column] is not np.ma.masked:
            colour = "white" if abs(values[row, column]) > full else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)


@_styled
def _write_png(figure: Figure, path: Path) -> None:
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
