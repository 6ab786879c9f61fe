"""What a finished run left in its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from zskd_onnx.data.transfer_set import INDEX, TransferSet
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.result import CompressionResult
from zskd_onnx.pipeline.run_folder import MANIFEST, STUDENT, TRANSFER_SET
from zskd_onnx.pipeline.run_settings import RunSettings


def finished_result(folder: Path, settings: RunSettings) -> CompressionResult | None:
    """The result of a run, or None if it has not finished, or a student is missing or differs from the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        student = hashlib.sha256((folder / STUDENT).read_bytes()).hexdigest()
        if (manifest["run"], manifest["student_sha256"]) != (settings.run, student):
            return None
        result = CompressionResult.from_dict(manifest, folder)
        if result.quantization is not None:
            quantized = result.quantization.quantized_file
            if hashlib.sha256(Path(quantized.path).read_bytes()).hexdigest() != quantized.sha256:
                return None
        return result
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(folder: Path) -> bool:
    """Whether no shard of the run's transfer set is missing or damaged."""
    if not (folder / TRANSFER_SET / INDEX).is_file():
        return True  # the run made none, or the user removed it whole
    try:
        transfer_set = TransferSet.open(folder / TRANSFER_SET)
    except UsageError:
        return False
    return not transfer_set.damaged(transfer_set.count)
