"""The output folder of a run: its files, and how it is created and cleaned up."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zskd_onnx.errors import UsageError, ZskdError

STUDENT = "student.onnx"
MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"
EVENTS = "events.jsonl"
IMPRESSIONS = "impressions.png"
SIMILARITY = "class_similarity.png"
TRANSFER_SET = "transfer-set"
CHECKPOINT = "checkpoint.pt"

_FILES = (STUDENT, MANIFEST, RECIPE, EVENTS, IMPRESSIONS, SIMILARITY, CHECKPOINT)


def check_output(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise UsageError if a run may not write there: the folder is a file, or not empty without an option."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder with --output")
    if any(folder.iterdir()) and not (overwrite or resume):
        raise UsageError(
            f"{folder}: is not empty; --overwrite replaces an earlier run, --resume continues an interrupted one"
        )


def check_inputs(folder: Path, inputs: Iterable[str | Path]) -> None:
    """Raise UsageError if a run would write over one of its inputs: a file, or the folder of a transfer set."""
    written = [(folder / name).resolve() for name in (*_FILES, TRANSFER_SET)]
    for path in map(Path, inputs):
        if any(path.resolve().is_relative_to(target) for target in written):
            raise UsageError(f"{path}: this run would remove or replace it; choose another --output, or move it")


@contextmanager
def output_folder(folder: Path, *, overwrite: bool, resume: bool) -> Iterator[Path]:
    """The folder for one run.

    ``overwrite`` removes the files of an earlier run and nothing else. If the run fails, its files are removed.
    If it is interrupted, or the student fails a check, the transfer set and the state of training stay for
    ``resume``, but no student does.
    """
    check_output(folder, overwrite=overwrite, resume=resume)
    existed = folder.exists()
    if existed and not resume:
        _remove(folder)
    elif existed:
        _remove_student(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be created ({error.strerror}); choose another --output") from error
    try:
        yield folder
    except BaseException as error:
        _remove_student(folder)
        if not isinstance(error, (KeyboardInterrupt, ZskdError)) and not (existed and resume):
            _remove(folder)
            if not existed:
                shutil.rmtree(folder, ignore_errors=True)
        raise


def _remove_student(folder: Path) -> None:
    for name in (STUDENT, MANIFEST):
        (folder / name).unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TRANSFER_SET, ignore_errors=True)
