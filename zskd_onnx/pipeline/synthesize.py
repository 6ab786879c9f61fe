"""A transfer set alone, and its samples in the file formats of other tools."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from zskd_onnx.config.override_texts import Overrides, override_texts
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.sample_files import WRITERS, StoredInputs, check_format, write_samples
from zskd_onnx.data.transfer_set import INDEX
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.pipeline.check_output import LOCK
from zskd_onnx.pipeline.competing_rounds import student_between
from zskd_onnx.pipeline.make_transfer_set import check_same_run, make_transfer_set
from zskd_onnx.pipeline.plan import prepare
from zskd_onnx.pipeline.run_folder import CHECKPOINT, locked_folder
from zskd_onnx.system.files import atomic_write
from zskd_onnx.system.lock import waiting_for
from zskd_onnx.teacher.load import TeacherOptions
from zskd_onnx.teacher.probes.answers import Answers, summarise
from zskd_onnx.teacher.probes.outputs import TeacherView

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class SampleSet:
    """Synthesised samples on disk.

    Attributes:
        folder: the transfer set, which ``compress`` takes as ``transfer_set``.
        samples: a file, or for PNG a folder, with the samples as the teacher's file takes them.
        predictions: an .npz with the teacher's ``classes`` (N,) and ``probabilities`` (N, K) for them.
        input_name: name of the teacher's input.
        shape: shape of all samples in the teacher's layout.
        dtype: element type of the teacher's input.
        answers: the teacher's predictions in figures.
        warnings: reasons to doubt that the samples serve.
        notes: what was assumed or decided.
    """

    folder: Path
    samples: Path
    predictions: Path
    input_name: str
    shape: tuple[int, ...]
    dtype: str
    answers: Answers
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        return {
            "folder": str(self.folder),
            "samples": str(self.samples),
            "predictions": str(self.predictions),
            "input": {"name": self.input_name, "shape": list(self.shape), "dtype": self.dtype},
            "answers": self.answers.to_dict(),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def synthesize(
    teacher: str | Path,
    output: str | Path,
    *,
    to: str = "npz",
    count: int | None = None,
    recipe: str | Path | Recipe | None = None,
    overrides: Overrides = (),
    pictures: str | Path | None = None,
    seed: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> SampleSet:
    """Synthesise samples for a classifier, such as those that a quantiser is calibrated on.

    An interrupted call continues when it is repeated.

    Args:
        teacher: the ONNX file.
        output: folder for the transfer set and the samples.
        to: format of the samples: "npz" or "safetensors" with one array named as the teacher's input, "npy", or "png"
            with pixels from 0 to 255 in a folder for each predicted class.
        count: number of samples; default: the recipe's ``synthesis.count``.
        overwrite: replace the transfer set of another call.
        recipe, overrides, pictures, seed, device, listener, teacher_options: see ``compress``.

    Raises:
        UsageError: an option does not fit, the recipe synthesises no set, or the folder holds something else.
        UnsupportedTeacherError, ParityError: see ``compress``.
    """
    folder = Path(output)
    if to not in WRITERS:
        raise UsageError(f"format '{to}': expected {', '.join(WRITERS)}")
    listener(Event("note", "teacher", f"loading {teacher}"))
    counted = [*override_texts(overrides), *([] if count is None else [f"synthesis.count={count}"])]
    plan = prepare(
        teacher, recipe=recipe, overrides=counted, pictures=pictures, seed=seed, device=device, **teacher_options
    )
    synthesis = plan.recipe.synthesis
    if synthesis is None:
        raise UsageError(f"recipe '{plan.recipe.name}' synthesises no set; take best, zskd, mvn or boundary")
    check_format(to, plan.teacher.domain)
    for note in plan.notes:
        listener(Event("note", "teacher", note))
    with ExitStack() as stack:
        # A student between rounds is trained by one process. Other sets are shared by all that are started for them.
        stack.enter_context(_shared_folder(folder) if synthesis.rounds == 1 else locked_folder(folder))
        _check_folder(folder, overwrite=overwrite)
        check_same_run(folder, plan)
        if synthesis.rounds == 1:
            stack.close()
        plan.teacher.to(plan.device)
        train_between = student_between(plan, folder / CHECKPOINT, listener)
        made = make_transfer_set(plan, folder, train_between, listener)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    inputs = made.inputs[plan.recipe.held_out :][: synthesis.count]
    logits = TeacherView(plan.teacher).batched_logits(inputs)
    classes = logits.argmax(1).numpy()
    stored = StoredInputs(plan.teacher.domain, inputs, classes)
    with _shared_folder(folder):
        path = write_samples(to, stored, folder)
        with atomic_write(folder / PREDICTIONS) as partial, partial.open("wb") as file:
            np.savez(file, classes=classes, probabilities=logits.softmax(1).numpy())
    answers = summarise(logits)
    doubts = (answers.collapse("synthesised samples"), answers.doubt)
    return SampleSet(
        folder=folder,
        samples=path,
        predictions=folder / PREDICTIONS,
        input_name=stored.domain.name,
        shape=stored.shape,
        dtype=stored.domain.dtype,
        answers=answers,
        warnings=(*stored.domain.warnings, *(doubt for doubt in doubts if doubt is not None)),
        notes=tuple(plan.notes),
    )


@contextmanager
def _shared_folder(folder: Path) -> Iterator[None]:
    """A folder that is created and, within the context, changed by one process alone; another one waits."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with waiting_for(folder / LOCK):
            yield
    except PermissionError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Empty the folder of an earlier call, or raise UsageError where it holds something else than a transfer set."""
    if (folder / INDEX).is_file():
        if overwrite:
            (folder / INDEX).unlink()
            for shard in folder.glob("shard-*.safetensors"):
                shard.unlink()
            for name in (*(f"samples.{to}" for to in WRITERS), PREDICTIONS):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / "png", ignore_errors=True)
    elif any(path.name != LOCK for path in folder.iterdir()):
        raise UsageError(f"{folder}: is not empty, and holds no transfer set; choose another --output")
