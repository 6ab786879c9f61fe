"""A run as the process makes it that leads it: plan, samples, student, files."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from zskd_onnx.data.copy_set import copy_set
from zskd_onnx.data.transfer_set import INDEX, Samples, TransferSet
from zskd_onnx.errors import DomainWarning, UsageError
from zskd_onnx.events import Event, EventLog, Listener, MetricsLog, both
from zskd_onnx.metrics.gates import missed
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.competing_rounds import student_between
from zskd_onnx.pipeline.finished_run import finished_result, is_whole
from zskd_onnx.pipeline.follow_run import SharedRun
from zskd_onnx.pipeline.footprint import with_shortages
from zskd_onnx.pipeline.judge_samples import judge_samples
from zskd_onnx.pipeline.long_run import long_run_note
from zskd_onnx.pipeline.make_transfer_set import (
    check_reusable,
    check_same_run,
    make_transfer_set,
    reuse,
    with_batches_of,
)
from zskd_onnx.pipeline.manifest import write_manifest
from zskd_onnx.pipeline.model_card import write_model_card
from zskd_onnx.pipeline.plan import Plan, prepare
from zskd_onnx.pipeline.quantize_student import check_quantisable, quantize_student
from zskd_onnx.pipeline.report_data import ClassAnswers, ReportData, ShownSamples, Similarity
from zskd_onnx.pipeline.result import CompressionResult, InputRange, ModelFigures
from zskd_onnx.pipeline.result_warnings import result_warnings
from zskd_onnx.pipeline.resumed_settings import resumed_settings
from zskd_onnx.pipeline.run_folder import OpenFolder
from zskd_onnx.pipeline.run_report import write_run_report
from zskd_onnx.pipeline.run_settings import new_settings, read_settings
from zskd_onnx.pipeline.smoke import toy_plan, toy_samples
from zskd_onnx.pipeline.time_budget import fit_synthesis, training_seconds
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.pipeline.training_samples import held_out_kind
from zskd_onnx.pipeline.write_student import write_student
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.report.pictures import draw_samples
from zskd_onnx.report.plots import draw_similarity
from zskd_onnx.report.shown_names import shown_names
from zskd_onnx.system.files import write_text
from zskd_onnx.system.latency import compare_latencies
from zskd_onnx.system.onnx_runtime import fixed_batch
from zskd_onnx.system.process_group import from_rank_0
from zskd_onnx.system.ranks import ranks
from zskd_onnx.teacher.parity import open_onnx_file


def lead_run(
    folder: Path,
    options: dict[str, Any],
    begin: float,
    listener: Listener,
    *,
    overwrite: bool,
    resume: bool,
    smoke: bool,
    degenerate: bool,
) -> CompressionResult:
    """Make or complete a run, see ``compress``.

    Args:
        options: of the run, as ``new_settings`` takes them.
        begin: seconds of ``time.monotonic`` from which a time budget counts.
        degenerate: whether degenerate samples are trained on.
    """
    finished = None
    if resume:
        settings = resumed_settings(folder / run_folder.SETTINGS, **options)
        before, now = (each.options.get("device") for each in (read_settings(folder / run_folder.SETTINGS), settings))
        if before != now:
            text = f"continued on {now}, begun on {before}: its samples stay, and what follows is rounded otherwise"
            listener(Event("note", "plan", text))
        finished = finished_result(folder, settings)
        if finished is not None and is_whole(folder):
            return from_rank_0(finished)
    elif options["teacher"] is None:
        raise UsageError("the teacher is missing; give an ONNX file, or continue a run with --resume")
    else:
        settings = new_settings(**options)
    if ranks().count > 1:
        listener(Event("note", "plan", f"{ranks().count} processes share synthesis and training"))
    with (
        nullcontext(OpenFolder(folder, settings, resume=False))
        if smoke
        else run_folder.output_folder(folder, settings, overwrite=overwrite, resume=resume)
    ) as run:
        listener(Event("note", "teacher", f"loading {settings.arguments['teacher']}"))
        started = time.perf_counter()
        plan = prepare(**settings.arguments)
        check_quantisable(plan)
        _check_batches(plan)
        run.settings = settings.with_student(plan.choice.name)
        for text in plan.teacher.domain.warnings:
            warnings.warn(text, DomainWarning, stacklevel=4)
        seconds = {"teacher": time.perf_counter() - started}
        samples, sets, url = None, folder / run_folder.TRANSFER_SET, settings.transfer_set_url
        if url is not None and smoke:
            raise UsageError("--smoke reads no transfer set from a URL; leave --transfer-set out, and samples are made")
        if url is not None and not (resume and (folder / run_folder.COPIED_SET / INDEX).is_file()):
            check_reusable(url, plan)  # before an earlier run is replaced
        elif settings.transfer_set is not None:
            plan, samples = reuse(settings.transfer_set, plan)
        elif resume and plan.recipe.synthesis is not None:
            plan = with_batches_of(sets, plan)
            check_same_run(sets, plan)
        deadline = None
        if smoke:
            plan = toy_plan(with_shortages(plan, output=None, has_transfer_set=samples is not None))
            samples = None if samples is None else toy_samples(plan, samples)
        elif settings.time_budget is not None:
            deadline = begin + training_seconds(settings.time_budget)
            if samples is None and url is None:
                known = TransferSet.open(sets).requested if resume and (sets / INDEX).is_file() else None
                plan = fit_synthesis(plan, deadline - time.monotonic(), known)
        if not smoke:
            plan = with_shortages(plan, output=folder, has_transfer_set=samples is not None)
        run.start()
        if url is not None and run.reused_set is not None:
            copy_set(url, run.reused_set, listener)
            plan, samples = reuse(run.reused_set, plan)
        from_rank_0(SharedRun(run.settings, plan.recipe, run.reused_set, finished))
        result = _run(plan, run, samples, seconds, finished, deadline, listener, allow_degenerate=degenerate or smoke)
        return result if finished is not None else from_rank_0(result)


def _check_batches(plan: Plan) -> None:
    """Raise UsageError where a batch has fewer samples than there are processes."""
    for name, stage in plan.recipe.stages.items():
        if stage.batch_size < ranks().count:
            raise UsageError(
                f"{name}.batch_size is {stage.batch_size}, less than the {ranks().count} processes that share a batch; start "
                "fewer processes, or set it higher"
            )


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
    if samples is not None and not isinstance(samples.inputs, Tensor):
        size = f"{len(samples.inputs):,} samples ({samples.inputs.nbytes / 1e9:,.1f} GB)"
        text = f"{size} are read from disk as they are needed, because they would fill too much of the available memory"
        listener(Event("note", "distillation", text))
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
    quantization = quantize_student(plan, samples, trained.held_out, path, listener)
    clock.mark("deployment")
    gates = plan.recipe.deployment.gates.judge(
        agreement=comparison.agreement,
        accuracy=None if accuracy is None else accuracy.student,
        teacher_accuracy=None if accuracy is None else accuracy.teacher,
        latency_ratio=latency.ratio,
    )
    is_smoke = plan.smoke_of is not None
    doubts = teacher.domain.warnings if is_smoke else result_warnings(teacher.domain, answers, comparison, accuracy)
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
        smoke=is_smoke,
    )
    write_manifest(plan, run, result, {"kind": kind, "samples": comparison.samples})
    checkpoint.unlink(missing_ok=True)
    write_run_report(folder)
    write_model_card(folder)
    ended = "the smoke run ended well" if is_smoke else str(result.student)
    listener(Event("done", "deployment", ended, figures={} if is_smoke else {"agreement": comparison.agreement}))
    return result


class _Clock:
    """Measures the duration of stages that follow one another."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.last = now - self.last, now
