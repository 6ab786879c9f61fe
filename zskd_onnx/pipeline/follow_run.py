"""What a process does that shares the work of a run, beside rank 0, which leads the run and writes its folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from zskd_onnx.config.recipe import Recipe
from zskd_onnx.events import silent
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.competing_rounds import student_between
from zskd_onnx.pipeline.make_transfer_set import make_transfer_set, reuse
from zskd_onnx.pipeline.plan import prepare
from zskd_onnx.pipeline.result import CompressionResult
from zskd_onnx.pipeline.run_settings import RunSettings
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.system.process_group import from_rank_0, process_group


@dataclass(frozen=True)
class SharedRun:
    """What rank 0 has decided.

    Attributes:
        settings: of the run.
        recipe: with every decision that depends on the teacher, the device and the time.
        reused: folder of the transfer set of another run that this run uses, or None.
        finished: the result of a run whose transfer set alone is incomplete.
    """

    settings: RunSettings
    recipe: Recipe
    reused: Path | None
    finished: CompressionResult | None


def follow_run(folder: Path, device: torch.device) -> CompressionResult:
    """Synthesise and train together with rank 0; returns its result.

    Args:
        folder: of the run, which all processes reach.
    """
    with process_group(device):
        run: SharedRun | CompressionResult = from_rank_0()
        if isinstance(run, CompressionResult):
            return run
        plan = replace(prepare(**run.settings.arguments), recipe=run.recipe)
        plan.teacher.to(plan.device)
        samples, checkpoint = None, folder / run_folder.CHECKPOINT
        if run.reused is not None:
            _, samples = reuse(run.reused, plan)
        elif plan.recipe.synthesis is not None:
            train_between = student_between(plan, checkpoint, silent)
            samples = make_transfer_set(plan, folder / run_folder.TRANSFER_SET, train_between, silent)
        if run.finished is not None:
            return run.finished
        train_student(plan, samples, checkpoint, silent)
        result: CompressionResult = from_rank_0()
        return result
