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

from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Event, EventLog, Listener, both, silent
from zskd_onnx.export.checks import Parity
from zskd_onnx.export.onnx import describe_teacher, save
from zskd_onnx.metrics.onnx_scores import Accuracies, score
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.check_output import check_output
from zskd_onnx.pipeline.competing_rounds import student_between
from zskd_onnx.pipeline.finished_run import finished_result, is_whole
from zskd_onnx.pipeline.judge_samples import judge_samples
from zskd_onnx.pipeline.long_run import long_run_note
from zskd_onnx.pipeline.make_transfer_set import check_same_run, make_transfer_set, reuse
from zskd_onnx.pipeline.plan import Plan, prepare
from zskd_onnx.pipeline.quantize_student import check_quantisable, quantize_student
from zskd_onnx.pipeline.result import CompressionResult, InputRange, ModelFigures, missed_gates
from zskd_onnx.pipeline.result_warnings import result_warnings
from zskd_onnx.pipeline.resumed_settings import resumed_settings
from zskd_onnx.pipeline.run_folder import OpenFolder
from zskd_onnx.pipeline.run_settings import new_settings
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.report.pictures import draw_samples, draw_similarity
from zskd_onnx.students.onnx_student import OnnxStudent, to_checked_file
from zskd_onnx.students.own_files import is_onnx_file, own_file
from zskd_onnx.students.thinning.target import requested_target
from zskd_onnx.system.files import write_text
from zskd_onnx.teacher.load import TeacherOptions
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.version import __version__

SCHEMA_VERSION = 2


def compress(
    teacher: str | Path | None,
    output: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    overrides: Iterable[str] = (),
    student: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: str | Path | None = None,
    data: str | Path | None = None,
    pictures: str | Path | None = None,
    init: str | None = None,
    transfer_set: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    allow_degenerate: bool = False,
    target_params: str | float | None = None,
    target_macs: str | float | None = None,
    target_size: str | float | None = None,
    target_latency: str | None = None,
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> CompressionResult:
    """Compress a classifier without its training data.

    Args:
        teacher: the ONNX file. With ``resume`` it may be None, which takes the file of the run.
        output: folder for the student and everything that belongs to it.
        recipe: a built-in name, a YAML file, or a ``Recipe``. None takes "best", or "zskd-uniform" where the teacher
            has no final fully connected layer.
        overrides: "distillation.epochs=50" and the like, for a recipe given by name or file.
        student: an architecture, "half", "auto", "file.py:factory", or the path of an ONNX file; default: the recipe's.
        seed: of every random draw; default: the recipe's. On one machine the same seed gives the same student.
        device: "auto", "cpu" or "cuda".
        eval_data: an .npz with real samples ``x`` and class numbers ``y`` to score on. They are not trained on,
            and select nothing.
        data: an .npz with real samples ``x``, and class numbers ``y`` if known, to train on beside synthesised
            samples. Some recipes need it.
        pictures: a folder of pictures (JPEG, PNG) of anything. Random crops of them join the images that the recipe
            draws. They are no training data: the teacher labels them.
        init: "random", "inherit", "auto" or "file", see ``Recipe``; default: the recipe's.
        transfer_set: folder of a transfer set that an earlier run made from the same teacher; nothing is
            synthesised then.
        overwrite: replace what an earlier run wrote to ``output``. Its student stays until the new one is complete.
        resume: continue the run there with its own settings; a finished run gives its result again and writes
            nothing. Other arguments may be left out, and may not conflict with the settings.
        allow_degenerate: train even where the teacher's predictions on the samples have collapsed, see
            ``pipeline.judge_samples``.
        target_params: in place of ``student``, the largest thinned version of the teacher with at most this number of
            parameters, such as "60k", or this share of the teacher's, such as "25%".
        target_macs: the same with a limit of the multiply-adds of one sample, such as "10M".
        target_size: the same with a limit of the student's file, such as "200kB".
        target_latency: the same with a limit of the median time of one batch in onnxruntime on the CPU of this
            machine, such as "2ms"; it uses as many threads as torch has.
        listener: is called with every progress ``Event``. If it raises an exception, such as ``Cancelled``, the run
            ends and what it made is kept for ``resume``.
        teacher_options: ``input_range``, ``mean``, ``std``, ``layout``, ``input_shape``, ``output_name``, ``fix``
            and ``importer``, as ``load_teacher`` takes them.

    Returns:
        The student's path and the figures of the run. Its ``check()`` raises QualityError where the student
        missed a quality gate of the recipe.

    Raises:
        UsageError: a file, folder, option or recipe does not fit.
        UnsupportedTeacherError: the file cannot serve as a teacher.
        ParityError: the import or the exported student disagrees with onnxruntime.
        QualityError: the teacher's predictions on the samples have collapsed, so nothing was trained.
    """
    folder = Path(output)
    targets = {
        "target_params": target_params,
        "target_macs": target_macs,
        "target_size": target_size,
        "target_latency": target_latency,
    }
    requested_target(student, **targets)  # reports a fault before anything is read
    if overwrite and resume:
        raise UsageError("overwrite and resume exclude each other; give one of --overwrite and --resume")
    own_student = None if student is None else own_file(student)
    inputs = [path for path in (teacher, data, eval_data, own_student) if path is not None]
    if overwrite and transfer_set is not None:
        inputs.append(transfer_set)
    run_folder.check_inputs(folder, inputs)
    options: dict[str, Any] = {
        "recipe": recipe,
        "overrides": overrides,
        "seed": seed,
        "init": init,
        "teacher": teacher,
        "student": student,
        "device": device,
        "data": data,
        "eval_data": eval_data,
        "pictures": pictures,
        "transfer_set": transfer_set,
        **targets,
        **teacher_options,
    }
    finished = None
    if resume:
        settings = resumed_settings(folder / run_folder.SETTINGS, **options)
        finished = finished_result(folder, settings)
        if finished is not None and is_whole(folder):
            return finished
    elif teacher is None:
        raise UsageError("the teacher is missing; give an ONNX file, or continue a run with --resume")
    else:
        check_output(folder, overwrite=overwrite)
        settings = new_settings(**options)
    with run_folder.output_folder(folder, settings, overwrite=overwrite, resume=resume) as run:
        listener(Event("note", "teacher", f"loading {settings.arguments['teacher']}"))
        started = time.perf_counter()
        plan = prepare(**settings.arguments)
        check_quantisable(plan)
        run.settings = settings.with_student(plan.choice.name)
        seconds = {"teacher": time.perf_counter() - started}
        samples = None
        if settings.transfer_set is not None:
            plan, samples = reuse(settings.transfer_set, plan)
        elif resume and plan.recipe.synthesis is not None:
            check_same_run(folder / run_folder.TRANSFER_SET, plan)
        run.start()
        return _run(plan, run, samples, seconds, finished, listener, allow_degenerate=allow_degenerate)


def _run(
    plan: Plan,
    run: OpenFolder,
    samples: Samples | None,
    seconds: dict[str, float],
    finished: CompressionResult | None,
    listener: Listener,
    *,
    allow_degenerate: bool,
) -> CompressionResult:
    """Make what is missing; ``finished`` is the result of a run whose transfer set alone is incomplete."""
    folder = run.path
    listener = both(EventLog(folder / run_folder.EVENTS), listener)
    for note in plan.notes:
        listener(Event("note", "teacher", note))
    if finished is None and (note_on_time := long_run_note(plan, has_transfer_set=samples is not None)) is not None:
        listener(Event("note", "plan", note_on_time))
    teacher, checkpoint = plan.teacher, folder / run_folder.CHECKPOINT
    write_text(folder / run_folder.RECIPE, plan.recipe_yaml())

    clock = _Clock(seconds)
    teacher.to(plan.device)
    if samples is None and plan.recipe.synthesis is not None:
        train_between = student_between(plan, checkpoint, listener)
        samples = make_transfer_set(plan, folder / run_folder.TRANSFER_SET, train_between, listener)
    if finished is not None:
        return finished
    answers = judge_samples(plan, samples, allow_degenerate=allow_degenerate)
    listener(Event("note", "teacher", f"the teacher's predictions: {answers}, {teacher.domain.range_in_words}"))
    clock.mark("synthesis")
    if teacher.head is not None:
        draw_similarity(class_similarity(teacher.head.weight), folder / run_folder.SIMILARITY)

    trained = train_student(plan, samples, checkpoint, listener)
    rows = samples.targets if samples is not None else TeacherView(teacher).batched_logits(trained.held_out)
    draw_samples(trained.held_out, rows[: len(trained.held_out)], folder / run_folder.IMPRESSIONS)
    clock.mark("distillation")

    parity, accuracy = _export(plan, trained.student, folder, trained.held_out)
    gates, comparison, path = plan.recipe.deployment, trained.comparison, folder / run_folder.STUDENT
    quantization = quantize_student(plan, samples, trained.held_out, path)
    clock.mark("deployment")
    warnings = result_warnings(teacher.domain, answers, comparison, accuracy)
    result = CompressionResult(
        student=path,
        parity=parity,
        agreement=comparison.agreement,
        confident=comparison.confident,
        confident_agreement=comparison.confident_agreement,
        accuracy=accuracy,
        history=trained.history,
        chosen=trained.chosen,
        teacher_size=ModelFigures(
            str(teacher.source.path), teacher.source.size, teacher.parameters_count, teacher.cost.multiply_adds
        ),
        student_size=ModelFigures(str(path), path.stat().st_size, plan.parameters, plan.multiply_adds),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        answers=answers,
        domain=InputRange.of(teacher.domain),
        warnings=warnings,
        notes=tuple(dict.fromkeys((*plan.notes, *warnings))),
        missed_gates=(
            *missed_gates(
                comparison.agreement,
                gates.min_agreement,
                None if accuracy is None else accuracy.student,
                gates.min_accuracy,
            ),
            *(() if quantization is None else quantization.missed_gates),
        ),
        manifest=folder / run_folder.MANIFEST,
        quantization=quantization,
    )
    manifest = {"run": run.settings.run, **_manifest(plan, result)}
    write_text(result.manifest, json.dumps(manifest, indent=2) + "\n")
    checkpoint.unlink(missing_ok=True)
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
    made = to_checked_file(student, teacher, plan.recipe.deployment.opset, held_out)
    accuracy = None
    if plan.evaluation is not None:
        accuracy = score(made.teacher, made.student, teacher.output.name, plan.evaluation, teacher.classes)
    metadata = {
        "zskd.version": __version__,
        "zskd.teacher_sha256": teacher.source.sha256,
        "zskd.recipe": plan.recipe.name,
        "zskd.student": Path(plan.choice.name).name if is_onnx_file(plan.choice.name) else plan.choice.name,
        "zskd.seed": str(plan.recipe.seed),
    }
    source = made.model if isinstance(student, OnnxStudent) else teacher.source.proto
    others = {p.key: p.value for p in source.metadata_props if not p.key.startswith("zskd.")}
    save(made.model, folder / run_folder.STUDENT, {**others, **describe_teacher(teacher, metadata)})
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
