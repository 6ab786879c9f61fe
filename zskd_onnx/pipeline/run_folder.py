"""The output folder of a run: its files, its lock, and what stays in it when the run ends early."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from zskd_onnx.data.transfer_set import INDEX, TransferSet
from zskd_onnx.errors import Cancelled, UsageError, ZskdError
from zskd_onnx.pipeline.check_output import INPUTS, LOCK, check_output
from zskd_onnx.pipeline.run_settings import RunSettings
from zskd_onnx.system.lock import LockedError, exclusive

STUDENT = "student.onnx"
QUANTIZED = {"int8": "student-int8.onnx", "fp16": "student-fp16.onnx"}
MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"
SETTINGS = "run.json"
EVENTS = "events.jsonl"
METRICS = "metrics.csv"
IMPRESSIONS = "impressions.png"
SIMILARITY = "class_similarity.png"
REPORT = "report.html"
REPORT_DATA = "report.npz"
CARD = "README.md"
TRANSFER_SET = "transfer-set"
COPIED_SET = "copied-set"
CHECKPOINT = "checkpoint.pt"

_RESULT = (STUDENT, *QUANTIZED.values(), MANIFEST, REPORT, REPORT_DATA, CARD)
_WORK = (CHECKPOINT, RECIPE, EVENTS, METRICS, IMPRESSIONS, SIMILARITY)


def check_inputs(folder: Path, inputs: Iterable[str | Path]) -> None:
    """Raise UsageError if a run would write over one of its inputs: a file, or the folder of a transfer set."""
    written = [(folder / name).resolve() for name in (*_RESULT, *_WORK, SETTINGS, TRANSFER_SET, COPIED_SET)]
    for path in map(Path, inputs):
        if any(path.resolve().is_relative_to(target) for target in written):
            raise UsageError(f"{path}: this run would remove or replace it; choose another --output, or move it")


class OpenFolder:
    """The locked folder of one run.

    Attributes:
        path: of the folder.
        settings: of the run.
        resumed: whether the run continues an earlier one.
        opened: when this process opened the folder.
        started: whether the run has begun to work, so that what it made stays.
    """

    def __init__(self, path: Path, settings: RunSettings, *, resume: bool) -> None:
        self.path = path
        self.settings = settings
        self.resumed = resume
        self.opened = datetime.now(UTC)
        self.started = False

    @property
    def reused_set(self) -> Path | None:
        """Folder of the transfer set of another run that this run uses; a set at a URL has its copy here."""
        return self.settings.transfer_set if self.settings.transfer_set_url is None else self.path / COPIED_SET

    def record(self) -> None:
        """Write the settings."""
        self.settings.write(self.path / SETTINGS)

    def start(self) -> None:
        """Begin to work: a new run replaces the work of an earlier one, but not its student, whose successor does."""
        if not self.resumed:
            for samples in (TRANSFER_SET, COPIED_SET):
                (self.path / samples / INDEX).unlink(missing_ok=True)
                shutil.rmtree(self.path / samples, ignore_errors=True)
            for name in _WORK:
                (self.path / name).unlink(missing_ok=True)
            for path in (self.path / INPUTS).glob("*"):
                if str(path.absolute()) not in self.settings.options.values():  # of an earlier run
                    path.unlink()
        self.record()
        self.started = True


@contextmanager
def output_folder(folder: Path, settings: RunSettings, *, overwrite: bool, resume: bool) -> Iterator[OpenFolder]:
    """The folder for one run. No other run can open it within the context.

    ``overwrite`` replaces the files of an earlier run and nothing else, and its student only by the next one. If
    an error is found before the run starts to work, nothing of the run stays. Whatever ends it later, all that it made
    stays for ``resume``, and a note on the exception says so.

    Raises:
        UsageError: the folder cannot be written, another run writes to it, or see ``check_output``.
    """
    if not resume:
        check_output(folder, overwrite=overwrite)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with locked_folder(folder):
            if not resume:
                check_output(folder, overwrite=overwrite)  # another run may have ended in between
            yield from _opened(OpenFolder(folder, settings, resume=resume))
    finally:
        with suppress(OSError):  # a folder that is not empty stays
            for path in missing:
                path.rmdir()


def _opened(run: OpenFolder) -> Iterator[OpenFolder]:
    """The folder of a run, and what happens if the run ends with an exception."""
    new = not (run.path / SETTINGS).exists()
    if new:
        run.record()  # at once, so that a run that is killed can be resumed
    try:
        yield run
    except BaseException as error:
        stopped = not isinstance(error, (ZskdError, OSError)) or isinstance(error, Cancelled)
        if run.started or (stopped and (new or run.resumed)):
            error.add_note(_how_to_resume(run.path))
        elif new:
            (run.path / SETTINGS).unlink()
            shutil.rmtree(run.path / INPUTS, ignore_errors=True)
        raise


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create and lock a folder.

    Raises:
        UsageError: it cannot be written, or another run writes to it.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / LOCK))
        except LockedError as error:
            process = "" if error.process is None else f" (process {error.process})"
            raise UsageError(
                f"{folder}: another run{process} writes to it; wait for its end, or choose another --output"
            ) from error
        except OSError as error:
            raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error
        yield


def _how_to_resume(folder: Path) -> str:
    """What a run that ended early has made, and the command that continues it."""
    parts = []
    with suppress(UsageError):  # there is no transfer set, or its index is damaged
        count = TransferSet.open(folder / TRANSFER_SET).count
        parts += [f"{count:,} samples"] if count else []
    if (folder / CHECKPOINT).is_file():
        parts.append("the state of training")
    kept = f"{' and '.join(parts)} kept in {folder}" if parts else "no sample was made yet"
    return f"{kept}; to continue: zskd-onnx compress --resume --output {shlex.quote(str(folder))}"
