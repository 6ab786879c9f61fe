"""Running a grid: nothing twice, nothing lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zskd_onnx.config.default import DEFAULT_RECIPE
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import INDEX
from zskd_onnx.errors import MissingExtraError, UsageError, ZskdError
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.importer.file.source import read_source
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.compress import compress
from zskd_onnx.pipeline.make_transfer_set import recipe_identity, student_identity
from zskd_onnx.sweeps.grid import Run, grid
from zskd_onnx.sweeps.plot import draw
from zskd_onnx.sweeps.table import Row, Summary, summarise, to_csv
from zskd_onnx.system.files import write_text
from zskd_onnx.version import __version__

CSV = "sweep.csv"
JSON = "sweep.json"
PLOT = "sweep.png"
RUNS = "runs"

DATA_FILES = ("eval_data", "data")
"""Options that name a file; what it holds makes a run another one."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        folder: holds sweep.csv, sweep.json, sweep.png where one field of numbers varies, and a
            folder for each run.
        rows: the runs that ended, in the order of the grid.
    """

    folder: Path
    rows: tuple[Row, ...]

    @property
    def summaries(self) -> list[Summary]:
        """Mean and deviation over the seeds of each setting."""
        return summarise(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``, and of sweep.json."""
        return {
            "folder": str(self.folder),
            "summary": [summary.to_dict() for summary in self.summaries],
            "runs": [row.to_dict() for row in self.rows],
        }

    def check(self) -> None:
        """Raise ZskdError if no run finished."""
        if self.rows and all(row.error is not None for row in self.rows):
            raise ZskdError(
                f"all {len(self.rows)} runs failed, see {self.folder / CSV}; the first: {self.rows[0].error}"
            )


def sweep(
    teacher: str | Path,
    output: str | Path,
    *,
    recipes: Sequence[str] = (DEFAULT_RECIPE,),
    settings: Iterable[str] = (),
    seeds: int = 1,
    listener: Listener = silent,
    **options: Any,
) -> Sweep:
    """Compress a teacher with every recipe, every combination of settings, and several seeds.

    Called again with the same folder, it goes on where it stopped: runs that finished are not
    repeated, one that was interrupted continues, and those that failed are tried again. A grid that
    has grown makes what is missing, and another version of the program makes all anew. What is asked for
    twice is run once. Runs that differ in distillation only share a transfer set, unless it is made in
    rounds: what is made in the later ones depends on the student.

    Args:
        teacher: the ONNX file.
        output: folder for the table and the runs.
        recipes: built-in names and .yaml files.
        settings: "prior.sigma=0.5,1,2" and the like, see ``grid``.
        seeds: how many; 0, 1, ...
        listener: hears of progress.
        options: further arguments of ``compress``, the same for all runs: ``student``, ``device``,
            ``eval_data`` and what describes the teacher.

    Returns:
        A row for each run; a run that fails is a row with its error. ``check()`` of it raises
        ZskdError where none finished.

    Raises:
        UsageError: the grid cannot be read, or there is no such file.
        RecipeError: a recipe or a value of the grid does not validate.
        UnsupportedTeacherError: the teacher's file cannot be read.
    """
    folder = Path(output)
    asked = grid(recipes, settings, seeds)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; expected a folder for the sweep")
    for run in asked:
        run.resolve()  # a recipe that does not validate is known before any run is made
    options = {key: value for key, value in options.items() if value is not None}
    common = _common(Path(teacher), options)
    runs: dict[Path, Run] = {}
    for run in asked:
        runs.setdefault(_place(folder, run, common), run)
    rows: dict[Path, Row] = {}
    for place, run in runs.items():
        if (place / run_folder.MANIFEST).is_file():
            rows[place] = Row.of(run, place, json.loads((place / run_folder.MANIFEST).read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    listener(Event("progress", "sweep", completed=len(rows), total=len(runs)))
    hearing = _Hearing(listener)
    for number, (place, run) in enumerate(runs.items(), 1):
        if place in rows:
            continue
        listener(Event("note", "sweep", f"run {number} of {len(runs)}: {run}, seed {run.seed}"))
        finished = {done: row.run.resolve() for done, row in rows.items() if row.error is None}
        rows[place] = _row(teacher, run, place, finished, {**options, "listener": hearing})
        _write(Sweep(folder, tuple(rows[p] for p in runs if p in rows)))
        listener(Event("progress", "sweep", completed=len(rows), total=len(runs)))
    found = Sweep(folder, tuple(rows[p] for p in runs))
    _write(found)
    try:
        draw(found.summaries, folder / PLOT)
    except MissingExtraError as error:
        listener(Event("note", "sweep", f"{PLOT} was left out: {error}"))
    listener(Event("done", "sweep", f"{len(runs):,} runs", len(runs), len(runs)))
    return found


class _Hearing:
    """Hands on what the runs tell: progress always, a note once."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.noted: set[str] = set()

    def __call__(self, event: Event) -> None:
        if event.kind != "note" or event.text not in self.noted:
            self.listener(event)
            self.noted.add(event.text)


def _row(
    teacher: str | Path, run: Run, place: Path, finished: Mapping[Path, Recipe], options: Mapping[str, Any]
) -> Row:
    """Make a run, or the rest of it."""
    try:
        recipe = run.resolve()
        shared = _shared(recipe, place, finished)
        compress(teacher, place, recipe=recipe, transfer_set=shared, resume=True, **options)
    except Exception as error:
        return Row(run, error=" ".join(f"{type(error).__name__}: {error}".split()))
    return Row.of(run, place, json.loads((place / run_folder.MANIFEST).read_text(encoding="utf-8")))


def _common(teacher: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a sweep have in common, as far as their results depend on it."""
    source = read_source(teacher, options.get("fix"))
    given = {key: value for key, value in options.items() if key != "fix"}
    for key in DATA_FILES:
        if key in given and Path(given[key]).is_file():
            with Path(given[key]).open("rb") as file:
                given[key] = hashlib.file_digest(file, "sha256").hexdigest()
    if "student" in given:
        given["student"] = student_identity(given["student"])
    return {"version": __version__, "teacher": source.sha256, "fixed": source.fixed, **given}


def _place(folder: Path, run: Run, common: Mapping[str, Any]) -> Path:
    """The folder of a run, its own for whatever may change its result."""
    try:
        recipe: Any = run.resolve().model_dump(mode="json")
    except ZskdError:  # told when the run's turn comes
        recipe = str(run)
    whole = json.dumps({**common, "recipe": recipe}, sort_keys=True, default=str)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return folder / RUNS / f"{Path(run.recipe).stem}-seed{run.seed}-{digest[:12]}"


def _shared(recipe: Recipe, place: Path, finished: Mapping[Path, Recipe]) -> Path | None:
    """The transfer set of another run that is the very one which this run would make.

    A larger set begins with a smaller one, but a run that is given a set takes all that its run wanted.
    """
    if recipe.synthesis is None or (place / run_folder.TRANSFER_SET).is_dir():
        return None
    for other, made in finished.items():
        folder = other / run_folder.TRANSFER_SET
        if (folder / INDEX).is_file() and _synthesis(made) == _synthesis(recipe):
            return folder
    return None


def _synthesis(recipe: Recipe) -> tuple[Any, ...]:
    """What a transfer set depends on, teacher and device aside, how large it is and how much of it is held out."""
    assert recipe.synthesis is not None
    return recipe_identity(recipe), recipe.synthesis.count, recipe.held_out


def _write(found: Sweep) -> None:
    write_text(found.folder / CSV, to_csv(found.rows))
    write_text(found.folder / JSON, json.dumps({"schema_version": 1, **found.to_dict()}, indent=2) + "\n")
