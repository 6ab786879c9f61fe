"""The student's file: exported, checked, scored and written."""

from __future__ import annotations

from pathlib import Path

import torch

from zskd_onnx.export.export import ExportedStudent
from zskd_onnx.export.onnx import describe_teacher, save
from zskd_onnx.metrics.compare import Comparison
from zskd_onnx.metrics.onnx_scores import Accuracies, accuracies, log_probabilities
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.report_data import Errors
from zskd_onnx.pipeline.train_student import TrainedStudent
from zskd_onnx.report.shown_names import short_name
from zskd_onnx.students.onnx_student import OnnxStudent, to_checked_file
from zskd_onnx.students.own_files import is_onnx_file
from zskd_onnx.version import __version__


def write_student(
    plan: Plan, trained: TrainedStudent, kind: str, folder: Path
) -> tuple[ExportedStudent, Accuracies | None, Errors | None]:
    """Export, check and score the student; its file appears only if it passes.

    Args:
        kind: of the held-out samples, in words.
        folder: of the run.

    Returns:
        The exported student; its accuracy and its errors, or None without evaluation data.

    Raises:
        ZskdError, ParityError: see ``export_student``.
    """
    teacher, student = plan.teacher, trained.student
    made = to_checked_file(student, teacher, plan.recipe.deployment.opset, trained.held_out)
    accuracy = errors = None
    if plan.evaluation is not None:
        of_teacher, of_student = (
            log_probabilities(session, plan.evaluation.x, teacher.output).argmax(1)
            for session in (made.teacher, made.student)
        )
        labels = torch.from_numpy(plan.evaluation.y)
        accuracy = accuracies(of_teacher, of_student, labels, teacher.classes)
        errors = Errors.of(of_teacher, of_student, labels, teacher.classes)
    made.model.doc_string = _origin(plan, trained.comparison, kind)
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
    return made, accuracy, errors


def _origin(plan: Plan, comparison: Comparison, kind: str) -> str:
    """Where the student comes from, for those who open its file in a viewer."""
    source = plan.teacher.source
    return (
        f"Made by zskd-onnx {__version__} from {short_name(source.path.name)} (SHA-256 {source.sha256[:16]}...) with the recipe "
        f"{plan.recipe.name}. It gives the teacher's class for {100 * comparison.agreement:.2f} % of {comparison.samples:,} "
        f"held-out {kind}."
    )
