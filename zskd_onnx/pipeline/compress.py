"""The whole run: a teacher's file in, a verified student's file out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import onnx
from torch import nn

from zskd_onnx.config.override_texts import Overrides, override_texts
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import INDEX, Samples, TransferSet
from zskd_onnx.errors import DomainWarning, UsageError
from zskd_onnx.events import Event, EventLog, Listener, MetricsLog, both, silent
from zskd_onnx.metrics.gates import missed
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.check_output import check_output
from zskd_onnx.pipeline.competing_rounds import student_between
from zskd_onnx.pipeline.finished_run import finished_result, is_whole
from zskd_onnx.pipeline.judge_samples import judge_samples
from zskd_onnx.pipeline.long_run import long_run_note
from zskd_onnx.pipeline.make_transfer_set import check_same_run, make_transfer_set, reuse
from zskd_onnx.pipeline.manifest import write_manifest
from zskd_onnx.pipeline.model_card import write_model_card
from zskd_onnx.pipeline.plan import Plan, prepare
from zskd_onnx.pipeline.python_inputs import RealArrays, samples_file, teacher_file
from zskd_onnx.pipeline.quantize_student import check_quantisable, quantize_student
from zskd_onnx.pipeline.report_data import ClassAnswers, ReportData, ShownSamples, Similarity
from zskd_onnx.pipeline.result import CompressionResult, InputRange, ModelFigures
from zskd_onnx.pipeline.result_warnings import result_warnings
from zskd_onnx.pipeline.resumed_settings import resumed_settings
from zskd_onnx.pipeline.run_folder import OpenFolder
from zskd_onnx.pipeline.run_report import write_run_report
from zskd_onnx.pipeline.run_settings import new_settings
from zskd_onnx.pipeline.time_budget import fit_synthesis, parse_budget, training_seconds
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.pipeline.training_samples import held_out_kind
from zskd_onnx.pipeline.write_student import write_student
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.report.pictures import draw_samples
from zskd_onnx.report.plots import draw_similarity
from zskd_onnx.report.shown_names import shown_names
from zskd_onnx.students.own_files import own_file
from zskd_onnx.students.own_objects import name_of
from zskd_onnx.students.thinning.target import requested_target
from zskd_onnx.system.files import write_text
from zskd_onnx.system.latency import compare_latencies
from zskd_onnx.system.onnx_runtime import fixed_batch
from zskd_onnx.teacher.load import TeacherOptions
from zskd_onnx.teacher.parity import open_onnx_file


def compress(
    teacher: str | Path | onnx.ModelProto | None,
    output: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    overrides: Overrides = (),
    student: str | nn.Module | Callable[..., Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: RealArrays | None = None,
    data: RealArrays | None = None,
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
    time_budget: str | float | None = None,
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> CompressionResult:
    """Compress a classifier without its training data.

    Args:
        teacher: the ONNX file, or a model in memory. With ``resume`` it may be None, which takes the file of the run.
        output: folder for the student and everything that belongs to it.
        recipe: a built-in name, a YAML file, or a ``Recipe``. None takes "best", or "zskd-uniform" where the teacher
            has no final fully connected layer.
        overrides: "distillation.epochs=50" and the like, or {"distillation": {"epochs": 50}}, for a recipe given by name
            or file.
        student: an architecture, "half", "auto", "file.py:factory", or the path of an ONNX file; default: the recipe's.
            A module, whose weights are the initial ones, or a factory or class, which is called with the shape of one
            sample and the number of classes, is accepted too.
        seed: of every random draw; default: the recipe's. On one machine the same seed gives the same student.
        device: "auto", "cpu" or "cuda".
        eval_data: an .npz with real samples ``x`` and class numbers ``y`` to score on, or the arrays (x, y). They are
            not trained on, and select nothing.
        data: an .npz with real samples ``x``, and class numbers ``y`` if known, to train on beside synthesised
            samples; or an array x, or the arrays (x, y). Some recipes need it.
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
        time_budget: the time that the run may take, such as "10m", or seconds. Fewer samples are made, and training ends
            when the time is up, with its learning rate at the end of its schedule. A resumed run has the whole time again.
            Such a run cannot be repeated to the byte.
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
    begin, folder = time.monotonic(), Path(output)
    targets = {
        "target_params": target_params,
        "target_macs": target_macs,
        "target_size": target_size,
        "target_latency": target_latency,
    }
    student_name = None if student is None else name_of(student)
    requested_target(student_name, **targets)  # reports a fault before anything is read
    if overwrite and resume:
        raise UsageError("overwrite and resume exclude each other; give one of --overwrite and --resume")
    if not resume:
        check_output(folder, overwrite=overwrite)
    files = {
        "teacher": teacher_file(teacher, folder),
        "data": samples_file(data, "data", folder),
        "eval_data": samples_file(eval_data, "eval_data", folder),
    }
    own_student = None if student_name is None else own_file(student_name)
    inputs = [path for path in (*files.values(), own_student) if path is not None]
    if overwrite and transfer_set is not None:
        inputs.append(Path(transfer_set))
    run_folder.check_inputs(folder, inputs)
    options: dict[str, Any] = {
        "recipe": recipe,
        "overrides": override_texts(overrides),
        "seed": seed,
        "init": init,
        **files,
        "student": student_name,
        "device": device,
        "pictures": pictures,
        "transfer_set": transfer_set,
        "time_budget": None if time_budget is None else parse_budget(time_budget),
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
        settings = new_settings(**options)
    with run_folder.output_folder(folder, settings, overwrite=overwrite, resume=resume) as run:
        listener(Event("note", "teacher", f"loading {settings.arguments['teacher']}"))
        started = time.perf_counter()
        plan = prepare(**settings.arguments)
        check_quantisable(plan)
        run.settings = settings.with_student(plan.choice.name)
        for text in plan.teacher.domain.warnings:
            warnings.warn(text, DomainWarning, stacklevel=2)
        seconds = {"teacher": time.perf_counter() - started}
        samples, sets = None, folder / run_folder.TRANSFER_SET
        if settings.transfer_set is not None:
            plan, samples = reuse(settings.transfer_set, plan)
        elif resume and plan.recipe.synthesis is not None:
            check_same_run(sets, plan)
        deadline = None
        if settings.time_budget is not None:
            deadline = begin + training_seconds(settings.time_budget)
            if samples is None:
                known = TransferSet.open(sets).requested if resume and (sets / INDEX).is_file() else None
                plan = fit_synthesis(plan, deadline - time.monotonic(), known)
        run.start()
        return _run(plan, run, samples, seconds, finished, deadline, listener, allow_degenerate=allow_degenerate)


def _run(
    plan: Plan,
    run: OpenFolder,
    samples: Samples | None,
    seconds: dict[str, float],
    finished: CompressionResult | None,
    deadline: float | None,
    listener: Listener,
    *,
    allow_degenerate: bool,
) -> CompressionResult:
    """Make what is missing; ``finished`` is the result of a run whose transfer set alone is incomplete."""
    folder = run.path
    logs = both(EventLog(folder / run_folder.EVENTS), MetricsLog(folder / run_folder.METRICS))
    listener = both(logs, listener)
    for note in plan.notes:
        listener(Event("note", "teacher", note))
    if (
        finished is None
        and deadline is None
        and (note_on_time := long_run_note(plan, has_transfer_set=samples is not None)) is not None
    ):
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
    names = shown_names(teacher.class_names, teacher.classes)
    similarity = None if teacher.head is None else class_similarity(teacher.head.weight)
    if similarity is not None:
        draw_similarity(similarity.numpy(), names, folder / run_folder.SIMILARITY)

    trained = train_student(plan, samples, checkpoint, listener, deadline)
    comparison, kind = trained.comparison, held_out_kind(plan, samples)
    draw_samples(trained.held_out, comparison.teacher_classes, names, kind, folder / run_folder.IMPRESSIONS)
    clock.mark("distillation")

    made, accuracy, errors = write_student(plan, trained, kind, folder)
    outputs = [value.name for value in made.model.graph.output]
    timed = open_onnx_file(teacher.source, outputs, exact_integers=False)
    batch = fixed_batch(timed) or 1
    latency = compare_latencies(timed, made.student, teacher.domain.mid_grey(batch), batch)
    ReportData(
        ShownSamples.of(trained.held_out, comparison, teacher.classes),
        ClassAnswers.of(comparison, teacher.classes),
        None if similarity is None else Similarity.of(similarity),
        errors,
    ).write(folder / run_folder.REPORT_DATA)
    path = folder / run_folder.STUDENT
    quantization = quantize_student(plan, samples, trained.held_out, path)
    clock.mark("deployment")
    gates = plan.recipe.deployment.gates.judge(
        agreement=comparison.agreement,
        accuracy=None if accuracy is None else accuracy.student,
        teacher_accuracy=None if accuracy is None else accuracy.teacher,
        latency_ratio=latency.ratio,
    )
    doubts = result_warnings(teacher.domain, answers, comparison, accuracy)
    result = CompressionResult(
        student=path,
        parity=made.parity,
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
        warnings=doubts,
        notes=tuple(dict.fromkeys((*plan.notes, *doubts))),
        gates=gates,
        missed_gates=(*missed(gates), *(() if quantization is None else quantization.missed_gates)),
        latency=latency,
        manifest=folder / run_folder.MANIFEST,
        quantization=quantization,
    )
    write_manifest(plan, run, result, {"kind": kind, "samples": comparison.samples})
    checkpoint.unlink(missing_ok=True)
    write_run_report(folder)
    write_model_card(folder)
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
