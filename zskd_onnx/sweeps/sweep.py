"""Sweeps: a grid of runs that continues where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import INDEX
from zskd_onnx.errors import Cancelled, UsageError, ZskdError
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.choose_recipe import default_recipe
from zskd_onnx.pipeline.compress import compress
from zskd_onnx.pipeline.fingerprint import digest, sweep_fingerprint, synthesis_fingerprint
from zskd_onnx.sweeps.grid import Run, run_grid
from zskd_onnx.sweeps.plot import draw
from zskd_onnx.sweeps.recorded_sweep import CSV, JSON, PLOT, RUNS, SCHEMA_VERSION
from zskd_onnx.sweeps.sweep_report import write_sweep_report
from zskd_onnx.sweeps.table import Row, Summary, summarise, to_csv
from zskd_onnx.system.files import write_text
from zskd_onnx.system.lock import LockedError, exclusive, waiting_for
from zskd_onnx.system.ranks import ranks
from zskd_onnx.teacher.load import TeacherOptions, load_teacher

NOT_RECORDED = ("listener", "allow_degenerate")
"""Arguments of ``compress`` that a run folder does not record."""

LOCK = ".sweep.lock"
"""File that is locked while the table and the report are written."""

WAITING_SECONDS = 1.0
"""Time between two looks at what other processes have made."""


@dataclass(frozen=True)
class Sweep:
    """The result of a sweep.

    Attributes:
        folder: holds report.html, sweep.csv, sweep.json, a folder for each run, and sweep.png where one numeric field
            varies.
        rows: the runs that ended, in the order of the grid.
    """

    folder: Path
    rows: tuple[Row, ...]

    @property
    def summaries(self) -> list[Summary]:
        """Mean and standard deviation over the seeds of each setting."""
        return summarise(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``, and of sweep.json."""
        return {
            "folder": str(self.folder),
            "summary": [summary.to_dict() for summary in self.summaries],
            "runs": [row.to_dict() for row in self.rows],
        }

    def check(self) -> None:
        """Raise ZskdError if no run succeeded."""
        if self.rows and all(row.error is not None for row in self.rows):
            raise ZskdError(
                f"all {len(self.rows)} runs failed, see {self.folder / CSV}; the first: {self.rows[0].error}"
            )

    def __repr__(self) -> str:
        failed = sum(row.error is not None for row in self.rows)
        return f"Sweep({self.folder}: {len(self.rows)} runs, {failed} failed)"


def sweep(
    teacher: str | Path,
    output: str | Path,
    *,
    recipes: Sequence[str] = (),
    settings: Iterable[str] = (),
    seeds: int = 1,
    listener: Listener = silent,
    **options: Any,
) -> Sweep:
    """Compress a teacher with every recipe, every combination of settings, and several seeds.

    Called again with the same folder, it continues where it stopped: finished runs are not repeated, an
    interrupted one continues, failed ones are tried again. A larger grid makes what is missing. Another version
    of the program makes all runs anew. Equal runs are made once. Runs that differ only in distillation share a
    transfer set, unless it is made in competing rounds and so depends on the student.

    Several processes that are called with the same arguments share the runs. Each ends when all runs are made.

    Args:
        teacher: the ONNX file.
        output: folder for the table and the runs.
        recipes: built-in names and .yaml files. Default: the recipe that ``compress`` takes for this teacher.
        settings: "prior.sigma=0.5,1,2" and the like, see ``run_grid``.
        seeds: number of seeds, counted from 0.
        listener: is called with every progress ``Event``.
        options: further arguments of ``compress``, the same for all runs: ``student``, ``device``, ``eval_data``
            and those that describe the teacher's input.

    Returns:
        A row for each run; a failed run is a row with its error. ``check()`` raises ZskdError where no run
        succeeded.

    Raises:
        UsageError: the grid cannot be read, or there is no such file.
        RecipeError: a recipe or a value of the grid does not validate.
        UnsupportedTeacherError: the teacher's file cannot be read.
    """
    if ranks().count > 1:
        raise UsageError("a sweep needs no torchrun; start the same command once for each device, see --help")
    folder = Path(output)
    settings = tuple(settings)
    options = {key: value for key, value in options.items() if value is not None}
    recipes = recipes or [_default_recipe(teacher, settings, options, listener)]
    requested = run_grid(recipes, settings, seeds)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; expected a folder for the sweep")
    for run in requested:
        run.resolve()  # reports a recipe that does not validate before any run is made
    fingerprint = sweep_fingerprint(Path(teacher), options)
    runs: dict[Path, Run] = {}
    for run in requested:
        runs.setdefault(_place(folder, run, fingerprint), run)
    rows: dict[Path, Row] = {}
    folder.mkdir(parents=True, exist_ok=True)
    once = _NotesOnce(listener)
    _read_finished(runs, rows)
    listener(Event("progress", "sweep", completed=len(rows), total=len(runs)))
    while len(rows) < len(runs):
        before = len(rows)
        for number, (place, run) in enumerate(runs.items(), 1):
            _read_finished(runs, rows)  # another process may have made some
            if place in rows:
                continue
            try:
                with exclusive(folder / f".{place.name}.lock"):
                    listener(Event("note", "sweep", f"run {number} of {len(runs)}: {run}, seed {run.seed}"))
                    finished = {done: row.run.resolve() for done, row in rows.items() if row.error is None}
                    rows[place] = _run(teacher, run, place, finished, {**options, "listener": once})
            except LockedError:  # another process makes it
                continue
            _write(Sweep(folder, tuple(rows[p] for p in runs if p in rows)))
            listener(Event("progress", "sweep", completed=len(rows), total=len(runs)))
        if len(rows) == before:
            time.sleep(WAITING_SECONDS)
    result = Sweep(folder, tuple(rows[p] for p in runs))
    _write(result)
    with waiting_for(folder / LOCK):
        draw(result.summaries, folder / PLOT)
        write_sweep_report(folder)
    listener(Event("done", "sweep", f"{len(runs):,} runs", len(runs), len(runs)))
    return result


def _default_recipe(
    teacher: str | Path, settings: Sequence[str], options: Mapping[str, Any], listener: Listener
) -> str:
    """The name of the recipe that a run takes where none is named."""
    overrides = tuple(run_grid([DEFAULT_RECIPE], settings, 1)[0].overrides)
    described = cast(TeacherOptions, {key: options[key] for key in TeacherOptions.__annotations__ if key in options})
    recipe, notes = default_recipe(load_teacher(teacher, **described), overrides)
    for note in notes:
        listener(Event("note", "sweep", note))
    return recipe.name


def _read_finished(runs: Mapping[Path, Run], rows: dict[Path, Row]) -> None:
    """Add the rows of runs that are finished on disk."""
    for place, run in runs.items():
        if place not in rows and (place / run_folder.MANIFEST).is_file():
            rows[place] = _finished(run, place)


class _NotesOnce:
    """Passes on the events of all runs, but each note only once."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.notes: set[str] = set()

    def __call__(self, event: Event) -> None:
        if event.kind != "note" or event.text not in self.notes:
            self.listener(event)
            self.notes.add(event.text)


def _run(
    teacher: str | Path, run: Run, place: Path, finished: Mapping[Path, Recipe], options: Mapping[str, Any]
) -> Row:
    """Make a run, or complete it."""
    try:
        if (place / run_folder.SETTINGS).is_file():
            compress(teacher, place, resume=True, **{key: options[key] for key in NOT_RECORDED if key in options})
        else:
            recipe = run.resolve()
            shared = _shared_set(recipe, place, finished)
            compress(teacher, place, recipe=recipe, transfer_set=shared, overwrite=True, **options)
    except Cancelled:
        raise
    except Exception as error:
        return Row(run, error=" ".join(f"{type(error).__name__}: {error}".split()))
    return _finished(run, place)


def _finished(run: Run, place: Path) -> Row:
    return Row.of(run, place, json.loads((place / run_folder.MANIFEST).read_text(encoding="utf-8")))


def _place(folder: Path, run: Run, fingerprint: Mapping[str, Any]) -> Path:
    """The folder of a run; anything that may change its result gives another folder."""
    try:
        recipe: Any = run.resolve().model_dump(mode="json")
    except ZskdError:  # it is reported when the run's turn comes
        recipe = str(run)
    name = digest({**fingerprint, "recipe": recipe})[:12]
    return folder / RUNS / f"{Path(run.recipe).stem}-seed{run.seed}-{name}"


def _shared_set(recipe: Recipe, place: Path, finished: Mapping[Path, Recipe]) -> Path | None:
    """The transfer set of a finished run, if it is exactly the one that this run would make.

    A larger set begins with a smaller one, but a run that is given a set uses all that its own run used.
    """
    if recipe.synthesis is None or (place / run_folder.TRANSFER_SET).is_dir():
        return None
    for other, its_recipe in finished.items():
        folder = other / run_folder.TRANSFER_SET
        if (folder / INDEX).is_file() and _synthesis(its_recipe) == _synthesis(recipe):
            return folder
    return None


def _synthesis(recipe: Recipe) -> tuple[Any, ...]:
    """What a transfer set depends on beside teacher and device, its size, and how much of it is held out."""
    assert recipe.synthesis is not None
    return synthesis_fingerprint(recipe), recipe.synthesis.count, recipe.held_out


def _write(result: Sweep) -> None:
    content = {"schema_version": SCHEMA_VERSION, **result.to_dict()}
    with waiting_for(result.folder / LOCK):
        write_text(result.folder / CSV, to_csv(result.rows))
        write_text(result.folder / JSON, json.dumps(content, indent=2) + "\n")
