"""Warnings of a result: reasons to doubt that the student serves on real samples as well as its figures say."""

from __future__ import annotations

from zskd_onnx.metrics.chance import near_chance
from zskd_onnx.metrics.compare import Comparison
from zskd_onnx.metrics.onnx_scores import Accuracies
from zskd_onnx.teacher.probes.answers import Answers
from zskd_onnx.teacher.signature.domain import Domain

DROP = 0.05
"""Loss of accuracy on real samples from which on the range is named as a possible cause; an option may be wrong too."""


def result_warnings(
    domain: Domain, answers: Answers, comparison: Comparison, accuracy: Accuracies | None
) -> tuple[str, ...]:
    """The warnings of a run.

    Args:
        answers: the teacher's predictions on the samples to train on.
        comparison: of student and teacher on held-out samples.
        accuracy: on real samples, or None.
    """
    warnings = [*domain.warnings]
    warnings += [note for note in (answers.collapse(), answers.doubt) if note is not None]
    if comparison.named == 1:
        warnings.append("the student predicts the same class for every held-out sample")
    agreed, chance = round(comparison.agreement * comparison.samples), 1 / answers.classes
    if comparison.agreement < chance or near_chance(agreed, comparison.samples, answers.classes):
        warnings.append(
            f"the agreement is near chance ({100 * chance:.2g} %) or below it: the student has learned next to nothing from "
            "its samples; train longer, or choose another --recipe or --student"
        )
    if accuracy is not None:
        warnings += accuracy.remarks
        if accuracy.teacher - accuracy.student > DROP:
            warnings.append(
                f"the student is {100 * (accuracy.teacher - accuracy.student):.1f} points below the teacher on real samples; "
                f"it was trained {domain.range_in_words}, so check the range, or train longer"
            )
    return tuple(warnings)
