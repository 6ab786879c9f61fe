"""The whole run: a teacher's file in, a verified student's file out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.events import Event, EventLog, Listener, both, silent
from zskd_onnx.export.checks import Parity
from zskd_onnx.export.export import export_student
from zskd_onnx.export.onnx import describe_teacher, save
from zskd_onnx.metrics.onnx_scores import Accuracies, score
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.competing_rounds import student_between
from zskd_onnx.pipeline.make_transfer_set import check_same_run, make_transfer_set, reuse
from zskd_onnx.pipeline.plan import Plan, prepare
from zskd_onnx.pipeline.result import CompressionResult, ModelFigures, missed_gates
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.report.pictures import draw_samples, draw_similarity
from zskd_onnx.students.describe import parameters
from zskd_onnx.system.files import write_text
from zskd_onnx.teacher.load import TeacherOptions
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.version import __version__

SCHEMA_VERSION = 2


def compress(
    teacher: str | Path,
    output: str | Path,
    *,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    overrides: Iterable[str] = (),
    student: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: str | Path | None = None,
    data: str | Path | None = None,
    init: str | None = None,
    transfer_set: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> CompressionResult:
    """Compress a classifier without its training data.

    Args:
        teacher: the ONNX file.
        output: folder for the student and everything that belongs to it.
        recipe: a built-in name, a YAML file, or a ``Recipe``.
        overrides: "distillation.epochs=50" and the like, for a recipe given by name or file.
        student: an architecture, "half", "auto", or "file.py:factory"; default: the recipe's.
        seed: of every random draw; default: the recipe's. On one machine the same seed gives the same student.
        device: "auto", "cpu" or "cuda".
        eval_data: an .npz with real samples ``x`` and class numbers ``y`` to score on. They are not trained on,
            and select nothing.
        data: an .npz with real samples ``x``, and class numbers ``y`` if known, to train on beside synthesised
            samples. Some recipes need it.
        init: "random", "inherit" or "auto", see ``Recipe``; default: the recipe's.
        transfer_set: folder of a transfer set that an earlier run made from the same teacher; nothing is
            synthesised then.
        overwrite: replace what an earlier run wrote to ``output``.
        resume: continue an interrupted run there.
        listener: is called with every progress ``Event``.
        teacher_options: ``input_range``, ``mean``, ``std``, ``layout``, ``input_shape``, ``output_name``, ``fix``
            and ``importer``, as ``load_teacher`` takes them.

    Returns:
        The student's path and the figures of the run. Its ``check()`` raises QualityError where the student
        missed a quality gate of the recipe.

    Raises:
        UsageError: a file, folder, option or recipe does not fit.
        UnsupportedTeacherError: the file cannot serve as a teacher.
        ParityError: the import or the exported student disagrees with onnxruntime.
    """
    folder = Path(output)
    run_folder.check_output(folder, overwrite=overwrite, resume=resume)
    own_student = None if student is None else student.rpartition(":")[0]
    inputs = [path for path in (teacher, data, eval_data, own_student or None) if path is not None]
    run_folder.check_inputs(folder, inputs)
    if overwrite and transfer_set is not None:
        run_folder.check_inputs(folder, [transfer_set])
    started = time.perf_counter()
    plan = prepare(
        teacher,
        recipe=recipe,
        overrides=overrides,
        student=student,
        seed=seed,
        device=device,
        eval_data=eval_data,
        data=data,
        init=init,
        **teacher_options,
    )
    seconds = {"teacher": time.perf_counter() - started}
    samples = None
    if transfer_set is not None:
        plan, samples = reuse(Path(transfer_set), plan)
    elif resume and plan.recipe.synthesis is not None:
        check_same_run(folder / run_folder.TRANSFER_SET, plan)
    with run_folder.output_folder(folder, overwrite=overwrite, resume=resume):
        return _run(plan, folder, samples, seconds, listener)


def _run(
    plan: Plan, folder: Path, samples: Samples | None, seconds: dict[str, float], listener: Listener
) -> CompressionResult:
    listener = both(EventLog(folder / run_folder.EVENTS), listener)
    for note in plan.notes:
        listener(Event("note", "teacher", note))
    teacher, checkpoint = plan.teacher, folder / run_folder.CHECKPOINT
    write_text(folder / run_folder.RECIPE, plan.recipe_yaml())

    clock = _Clock(seconds)
    teacher.to(plan.device)
    if samples is None and plan.recipe.synthesis is not None:
        train_between = student_between(plan, checkpoint, listener)
        samples = make_transfer_set(plan, folder / run_folder.TRANSFER_SET, train_between, listener)
    clock.mark("synthesis")
    if teacher.head is not None:
        draw_similarity(class_similarity(teacher.head.weight), folder / run_folder.SIMILARITY)

    trained = train_student(plan, samples, checkpoint, listener)
    rows = samples.targets if samples is not None else TeacherView(teacher).batched_logits(trained.held_out)
    draw_samples(trained.held_out, rows[: len(trained.held_out)], folder / run_folder.IMPRESSIONS)
    clock.mark("distillation")

    parity, accuracy = _export(plan, trained.student, folder, trained.held_out)
    checkpoint.unlink(missing_ok=True)
    clock.mark("deployment")
    gates, comparison, path = plan.recipe.deployment, trained.comparison, folder / run_folder.STUDENT
    result = CompressionResult(
        student=path,
        parity=parity,
        agreement=comparison.agreement,
        confident=comparison.confident,
        confident_agreement=comparison.confident_agreement,
        accuracy=accuracy,
        history=trained.history,
        chosen=trained.chosen,
        teacher_size=ModelFigures(str(teacher.source.path), teacher.source.size, teacher.parameters_count),
        student_size=ModelFigures(str(path), path.stat().st_size, parameters(trained.student)),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        notes=plan.notes,
        missed_gates=missed_gates(
            comparison.agreement,
            gates.min_agreement,
            None if accuracy is None else accuracy.student,
            gates.min_accuracy,
        ),
        manifest=folder / run_folder.MANIFEST,
    )
    write_text(result.manifest, json.dumps(_manifest(plan, result), indent=2) + "\n")
    listener(Event("done", "deployment", str(result.student), figures={"agreement": comparison.agreement}))
    return result


class _Clock:
    """Measures the duration of stages that follow one another."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.last = now - self.last, now


def _export(plan: Plan, student: nn.Module, folder: Path, held_out: Tensor) -> tuple[Parity, Accuracies | None]:
    """Export, verify and score the student; its file appears only if it passes."""
    teacher = plan.teacher
    made = export_student(student, teacher, plan.recipe.deployment.opset, held_out)
    accuracy = None
    if plan.evaluation is not None:
        accuracy = score(made.teacher, made.student, teacher.output.name, plan.evaluation)
    metadata = {
        "zskd.version": __version__,
        "zskd.teacher_sha256": teacher.source.sha256,
        "zskd.recipe": plan.recipe.name,
        "zskd.student": plan.choice.name,
        "zskd.seed": str(plan.recipe.seed),
    }
    of_teacher = {p.key: p.value for p in teacher.source.proto.metadata_props if not p.key.startswith("zskd.")}
    save(made.model, folder / run_folder.STUDENT, {**of_teacher, **describe_teacher(teacher, metadata)})
    return made.parity, accuracy


def _manifest(plan: Plan, result: CompressionResult) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **result.to_dict(),
        "tool": {"name": "zskd-onnx", "version": __version__, "torch": torch.__version__},
        "teacher_sha256": plan.teacher.source.sha256,
        "student_sha256": hashlib.sha256(result.student.read_bytes()).hexdigest(),
        "architecture": plan.choice.name,
        "recipe": plan.recipe.model_dump(mode="json"),
        "seed": plan.recipe.seed,
        "history": result.history,
        "device": str(plan.device),
        "threads": torch.get_num_threads(),
    }
