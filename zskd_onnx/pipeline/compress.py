"""The road: teacher.onnx in, verified student.onnx out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

import torch

from zskd_onnx.config.default import DEFAULT_RECIPE
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.events import Event, EventLog, Listener, both, silent
from zskd_onnx.export.checks import Parity
from zskd_onnx.export.export import deliver
from zskd_onnx.export.onnx import describe_teacher, save
from zskd_onnx.metrics.onnx_scores import Accuracies, score
from zskd_onnx.pipeline import make_transfer_set, run_folder
from zskd_onnx.pipeline.plan import Plan, prepare
from zskd_onnx.pipeline.result import CompressionResult, ModelFigures
from zskd_onnx.pipeline.train_student import learn
from zskd_onnx.priors.class_similarity import class_similarity
from zskd_onnx.report.pictures import draw_samples, draw_similarity
from zskd_onnx.students.describe import parameters
from zskd_onnx.system.files import write_text
from zskd_onnx.teacher.load import TeacherOptions
from zskd_onnx.version import __version__

PART = 512


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
        output: folder for the student and all that belongs to it.
        recipe: a built-in name, a YAML file, or a ``Recipe``.
        overrides: "distillation.epochs=50" and the like, for a recipe given by name or file.
        student: an architecture, "half", "auto", or "file.py:factory"; default: the recipe's.
        seed: of every random draw; default: the recipe's. On one machine the same seed gives
            the same student.
        device: "auto", "cpu" or "cuda".
        eval_data: an .npz with real samples ``x`` and class numbers ``y`` to score on. They
            train nothing and choose nothing.
        data: an .npz with real samples ``x``, and class numbers ``y`` if there are any, to train on
            beside what is synthesised. Some recipes need it; no other does.
        init: "fresh", "inherit" or "auto", see ``Recipe``; default: the recipe's.
        transfer_set: the folder of a complete transfer set that an earlier run made from the
            same teacher; nothing is synthesised then.
        overwrite: replace what an earlier run wrote to ``output``.
        resume: continue a run that was interrupted there.
        listener: hears of progress.
        teacher_options: ``input_range``, ``mean``, ``std``, ``layout``, ``input_shape``,
            ``output_name`` and ``importer``, as ``load_teacher`` takes them.

    Returns:
        The student's path and the figures of the run. ``check_gates()`` of it raises
        QualityError where the recipe's deployment section asks for more than the student gives.

    Raises:
        UsageError: a file, folder, option or recipe that does not fit.
        UnsupportedTeacherError: the file cannot serve as a teacher.
        ParityError: the import or the exported student disagrees with onnxruntime.
    """
    folder = Path(output)
    run_folder.check_output(folder, overwrite=overwrite, resume=resume)
    own = None if student is None else student.rpartition(":")[0]
    run_folder.check_apart(folder, [used for used in (teacher, data, eval_data, own or None) if used is not None])
    if overwrite and transfer_set is not None:
        run_folder.check_apart(folder, [transfer_set])
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
        plan, samples = make_transfer_set.reuse(Path(transfer_set), plan)
    elif resume and plan.recipe.synthesis is not None:
        make_transfer_set.check_same_run(folder / run_folder.TRANSFER_SET, plan)
    with run_folder.output_folder(folder, overwrite=overwrite, resume=resume):
        return _run(plan, folder, samples, seconds, listener)


def _run(
    plan: Plan, folder: Path, samples: Samples | None, seconds: dict[str, float], listener: Listener
) -> CompressionResult:
    listener = both(EventLog(folder / run_folder.EVENTS), listener)
    for note in plan.notes:
        listener(Event("note", "teacher", note))
    teacher, recipe = plan.teacher, plan.recipe
    write_text(folder / run_folder.RECIPE, plan.recipe_yaml())

    clock = _Clock(seconds)
    teacher.to(plan.device)
    if samples is None and recipe.synthesis is not None:
        samples = make_transfer_set.synthesise(
            plan, folder / run_folder.TRANSFER_SET, folder / run_folder.CHECKPOINT, listener
        )
    clock.mark("synthesis")
    if teacher.head is not None:
        draw_similarity(class_similarity(teacher.head.weight), folder / run_folder.SIMILARITY)

    student = plan.student.to(plan.device)
    learned = learn(plan, samples, folder / run_folder.CHECKPOINT, listener)
    held_out, compared = learned.held_out, learned.comparison
    draw_samples(held_out, _classes(plan, samples, held_out), folder / run_folder.IMPRESSIONS)
    clock.mark("distillation")

    parity, found = _deploy(plan, folder, held_out)
    (folder / run_folder.CHECKPOINT).unlink(missing_ok=True)
    clock.mark("deployment")
    result = CompressionResult(
        student=folder / run_folder.STUDENT,
        parity=parity,
        agreement=compared.agreement,
        sure=compared.sure,
        sure_agreement=compared.sure_agreement,
        accuracy=found,
        history=learned.history,
        chosen=learned.chosen,
        teacher_size=ModelFigures(str(teacher.source.path), teacher.source.size, teacher.parameters_count),
        student_size=ModelFigures(
            str(folder / run_folder.STUDENT), (folder / run_folder.STUDENT).stat().st_size, parameters(student)
        ),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        notes=plan.notes,
        missed_gates=_missed_gates(recipe, compared.agreement, found),
        manifest=folder / run_folder.MANIFEST,
    )
    write_text(folder / run_folder.MANIFEST, json.dumps(_manifest(plan, result), indent=2) + "\n")
    listener(Event("done", "deployment", str(result.student), figures={"agreement": compared.agreement}))
    return result


@torch.no_grad()
def _classes(plan: Plan, samples: Samples | None, held_out: torch.Tensor) -> torch.Tensor:
    """Which row of the picture each held-out sample belongs in: (N, K), by what it was made for."""
    if samples is not None:
        return samples.targets[: len(held_out)]
    teacher = plan.teacher
    parts = (part.to(plan.device, torch.float32) for part in held_out.split(PART))
    return torch.cat([teacher.logits(teacher.domain.to_file(part)).float().cpu() for part in parts])


class _Clock:
    """Times stages that follow one another."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.last = now - self.last, now


def _deploy(plan: Plan, folder: Path, held_out: torch.Tensor) -> tuple[Parity, Accuracies | None]:
    """Export, verify and score; the student's file appears only if it passes."""
    teacher = plan.teacher
    made = deliver(plan.student, teacher, plan.recipe.deployment.opset, held_out)
    found = None
    if plan.evaluation is not None:
        found = score(made.teacher, made.student, teacher.output.name, plan.evaluation)
    metadata = {
        "zskd.version": __version__,
        "zskd.teacher_sha256": teacher.source.sha256,
        "zskd.recipe": plan.recipe.name,
        "zskd.student": plan.choice.name,
        "zskd.seed": str(plan.recipe.seed),
    }
    kept = {p.key: p.value for p in teacher.source.proto.metadata_props if not p.key.startswith("zskd.")}
    save(made.model, folder / run_folder.STUDENT, {**kept, **describe_teacher(teacher, metadata)})
    return made.parity, found


def _manifest(plan: Plan, result: CompressionResult) -> dict[str, Any]:
    return {
        "schema_version": 1,
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


def _missed_gates(recipe: Recipe, agreed: float, found: Accuracies | None) -> tuple[str, ...]:
    gates, missed = recipe.deployment, []
    advice = "train longer (--set distillation.epochs=...) or take a larger student"
    if agreed < gates.min_agreement:
        missed.append(
            f"agreement {agreed:.4f} on held-out impressions, expected {gates.min_agreement} or more; {advice}"
        )
    if found is not None and found.student < gates.min_accuracy:
        missed.append(f"accuracy {found.student:.4f}, expected {gates.min_accuracy} or more; {advice}")
    return tuple(missed)
