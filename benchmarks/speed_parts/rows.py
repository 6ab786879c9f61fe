"""What all parts of ``speed.py`` share: its options, loops that take turns, and rows of the table."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Work = Callable[[], Any]
"""One round of a loop."""


class LeftOutError(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Options:
    """Options of ``speed.py``.

    Attributes:
        folder: temporary files of this run.
        kept: files that later runs use again, such as the MNIST teacher.
        resnet20: ONNX file of ResNet-20, or None.
        data: folder with ``mnist.npz``, or None.
        rounds: of the rows that are measured in turns.
        seed: of the first MNIST run.
        runs: number of MNIST runs of each loop, with a seed each.
        epochs: of an MNIST run.
    """

    folder: Path
    kept: Path
    resnet20: Path | None = None
    data: Path | None = None
    rounds: int = 12
    seed: int = 0
    runs: int = 1
    epochs: int = 20

    def resnet20_file(self) -> Path:
        """The ONNX file of ResNet-20.

        Raises:
            LeftOutError: there is none.
        """
        if self.resnet20 is None:
            raise LeftOutError("set --resnet20 to the ONNX file of the teacher")
        if not self.resnet20.is_file():
            raise LeftOutError(f"{self.resnet20}: no such file")
        return self.resnet20


@dataclass(frozen=True)
class Loops:
    """Loops that do one kind of work.

    Attributes:
        what: the work, as the table names it.
        unit: of the figures.
        scale: units in a second, divided by the pieces of work in a round.
        plain: a round of the plain loop.
        package: loops of this package -> a round of each.
        check: name of a figure of a round's result that shows whether the loops do the same work, and the function that
            computes it.
    """

    what: str
    unit: str
    scale: float
    plain: Work
    package: Mapping[str, Work]
    check: tuple[str, Callable[[Any], float]] | None = None


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what, unit: see ``Loops``.
        loop: of this package.
        plain, package: figures of the rounds in turn; None where a loop did not reach what is measured.
        others: further figures of the JSON line.
    """

    what: str
    loop: str
    unit: str
    plain: Sequence[float | None]
    package: Sequence[float | None]
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Plain : ours in each round."""
        pairs = zip(self.plain, self.package, strict=True)
        return [plain / ours for plain, ours in pairs if plain is not None and ours is not None]

    def as_json(self) -> dict[str, Any]:
        """The fields of the JSON line."""
        ratios = self.ratios
        return {
            "row": self.what,
            "loop": self.loop,
            "unit": self.unit,
            "plain": _rounded(_median(self.plain)),
            "package": _rounded(_median(self.package)),
            "ratio": _rounded(_median(ratios)),
            "lowest ratio": _rounded(min(ratios, default=None)),
            "highest ratio": _rounded(max(ratios, default=None)),
            "rounds": len(self.plain),
            **self.others,
        }


def in_turns(loops: Loops, rounds: int) -> Iterator[Row]:
    """Rows of loops that take turns, after a round to warm up; the time is the process's processor time."""
    works = {"plain": loops.plain, **loops.package}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    last: dict[str, Any] = {}
    for number in range(rounds + 1):
        for name, work in works.items():
            begin = time.process_time()
            last[name] = work()
            if number:
                seconds[name].append(loops.scale * (time.process_time() - begin))
    for name in loops.package:
        others = {}
        if loops.check is not None:
            figure, measure = loops.check
            others = {f"{figure}, plain": _rounded(measure(last["plain"])), figure: _rounded(measure(last[name]))}
        yield Row(loops.what, name, loops.unit, seconds["plain"], seconds[name], others)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown; a dash stands for a figure that was not reached, or the range of one round."""
    lines = [
        "| what | unit | loop | plain | this package | plain : this package | lowest to highest |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        values = row.as_json()
        plain, ours, ratio, low, high = (
            _text(values[key]) for key in ("plain", "package", "ratio", "lowest ratio", "highest ratio")
        )
        spread = f"{low} to {high}" if len(row.ratios) > 1 else "-"
        lines.append(f"| {row.what} | {row.unit} | {row.loop} | {plain} | {ours} | **{ratio}** | {spread} |")
    return "\n".join(lines)


def child_environment() -> dict[str, str]:
    """Environment of child processes: one thread, and the modules of this folder."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def peak_megabytes() -> float:
    """Peak resident memory of this process. ``ru_maxrss`` of a child would begin with its parent's.

    Raises:
        LeftOutError: the system has no /proc.
    """
    return _status("VmHWM")


def resident_megabytes() -> float:
    """Resident memory of this process now; raises like ``peak_megabytes``."""
    return _status("VmRSS")


def _status(name: str) -> float:
    path = Path("/proc/self/status")
    if not path.exists():
        raise LeftOutError("peak memory needs /proc/self/status, which Linux has")
    (line,) = (line for line in path.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def _median(values: Sequence[float | None]) -> float | None:
    """Median of the values; None where one is missing."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present and len(present) == len(values) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
