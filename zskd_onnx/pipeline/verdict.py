"""The result of a run in one sentence, which claims no more than was measured."""

from __future__ import annotations

from zskd_onnx.pipeline.recorded_run import Manifest
from zskd_onnx.pipeline.result import SMOKE
from zskd_onnx.report.page import percent


def verdict(manifest: Manifest) -> str:
    """What was measured of the student, and what was not."""
    if manifest.smoke:
        return SMOKE
    if manifest.accuracy is not None:
        return (
            f"On {manifest.evaluation_samples:,} real samples, the student's accuracy is "
            f"{percent(manifest.accuracy.student)} and the teacher's {percent(manifest.accuracy.teacher)}."
        )
    held_out = manifest.held_out
    sentence = (
        f"The student gives the teacher's class for {percent(manifest.agreement)} of {held_out.samples:,} "
        f"held-out {held_out.kind}"
    )
    return f"{sentence}; its accuracy was not measured."
