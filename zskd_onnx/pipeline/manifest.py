"""The manifest of a finished run: everything that its figures depend on."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from zskd_onnx.data.transfer_set import INDEX
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.result import CompressionResult
from zskd_onnx.pipeline.run_folder import OpenFolder
from zskd_onnx.pipeline.run_settings import FILES
from zskd_onnx.system.files import write_text
from zskd_onnx.system.invocation import invocation
from zskd_onnx.version import __version__

SCHEMA_VERSION = 3


def write_manifest(plan: Plan, run: OpenFolder, result: CompressionResult, held_out: dict[str, Any]) -> None:
    """Write the manifest of a run.

    Args:
        held_out: the held-out samples: "kind", in words, and number of "samples".
    """
    now = datetime.now(UTC)
    recipe = plan.recipe if plan.smoke_of is None else plan.smoke_of
    content = {
        "run": run.settings.run,
        "schema_version": SCHEMA_VERSION,
        **_beside(result),
        "held_out": held_out,
        "class_names": plan.teacher.class_names,
        "input": _input(plan),
        "inputs": _inputs(plan, run),
        "evaluation_samples": None if plan.evaluation is None else len(plan.evaluation.y),
        "started": run.opened.isoformat(timespec="seconds"),
        "duration": round((now - run.opened).total_seconds(), 2),
        "resumed": run.resumed,
        "command": invocation(),
        "tool": {
            "name": "zskd-onnx",
            "version": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "teacher_sha256": plan.teacher.source.sha256,
        "student_sha256": hashlib.sha256(result.student.read_bytes()).hexdigest(),
        "architecture": plan.choice.name,
        "recipe": recipe.model_dump(mode="json"),
        "seed": plan.recipe.seed,
        "history": result.history,
        "device": str(plan.device),
        "threads": torch.get_num_threads(),
    }
    write_text(result.manifest, json.dumps(content, indent=2) + "\n")


def _beside(result: CompressionResult) -> dict[str, Any]:
    """The JSON of a result; files that lie beside the manifest have their names alone, so that the folder can move."""
    content = result.to_dict()
    sizes = content["sizes"]
    for kind in ("float", "quantized") if "quantization" in content else ():
        stored = content["quantization"][kind]
        content["quantization"][kind] = {**stored, "path": Path(stored["path"]).name}
    return {
        **content,
        "student": run_folder.STUDENT,
        "manifest": run_folder.MANIFEST,
        "report": run_folder.REPORT,
        "sizes": {**sizes, "student": {**sizes["student"], "path": run_folder.STUDENT}},
    }


def _input(plan: Plan) -> dict[str, Any]:
    """The input of both files, and where its layout was read; ``input_range`` has the range."""
    domain = plan.teacher.domain
    return {
        "name": domain.name,
        "dtype": domain.dtype,
        "layout": domain.layout,
        "layout_source": domain.layout_source,
        "shape": list(domain.file_shape(1)[1:]),
    }


def _inputs(plan: Plan, run: OpenFolder) -> dict[str, dict[str, str]]:
    """The files and folders that the run read, each with its path or URL and a SHA-256."""
    digests = dict(run.settings.digests)
    if run.reused_set is not None:  # the index has the digest of each shard
        digests["transfer_set"] = hashlib.sha256((run.reused_set / INDEX).read_bytes()).hexdigest()
    if plan.images is not None and plan.images.pictures is not None:
        digests["pictures"] = plan.images.pictures.digest
    names = [key for key in (*FILES, "student", "transfer_set", "pictures") if key in digests]
    return {name: {"path": str(run.settings.options[name]), "sha256": digests[name]} for name in names}
