"""SHA-256 of a student's file and of its teacher's, compared with what the run wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zskd_onnx.errors import ParityError, UsageError
from zskd_onnx.importer.file.source import OnnxFile
from zskd_onnx.pipeline.run_folder import QUANTIZED


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a run, or None without one.

    Raises:
        UsageError: the file is no manifest.
    """
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["student_sha256"] = str(manifest["student_sha256"])
        if "quantization" in manifest:
            manifest["quantized_sha256"] = str(manifest["quantization"]["quantized"]["sha256"])
        return dict(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a manifest of zskd-onnx ({error})") from error


def check_student_digest(student: OnnxFile, manifest: dict[str, Any] | None) -> str:
    """Compare a student's file with the manifest beside it: "matches" or "no manifest".

    Raises:
        ParityError: they differ.
    """
    key = "quantized_sha256" if student.path.name in QUANTIZED.values() else "student_sha256"
    recorded = None if manifest is None else manifest.get(key)
    if recorded is None:
        return "no manifest"
    if recorded != student.sha256:
        raise ParityError(
            f"{student.path}: SHA-256 {student.sha256[:16]}..., the manifest beside it has {recorded[:16]}...; the file "
            "was changed"
        )
    return "matches"


def check_teacher_digest(teacher: OnnxFile, student: OnnxFile, manifest: dict[str, Any] | None) -> str:
    """Compare a teacher's file with the one that a student was made from: "matches" or "not recorded".

    Raises:
        ParityError: the student's metadata or its manifest name another file.
    """
    metadata = {entry.key: entry.value for entry in student.proto.metadata_props}
    recorded = {
        "its metadata": metadata.get("zskd.teacher_sha256"),
        "the manifest beside it": (manifest or {}).get("teacher_sha256"),
    }
    for place, sha256 in recorded.items():
        if sha256 is not None and sha256 != teacher.sha256:
            raise ParityError(
                f"{student.path} was made from another teacher: {place} has SHA-256 {str(sha256)[:16]}..., "
                f"{teacher.path} has {teacher.sha256[:16]}...; give --teacher the file that it was made from"
            )
    return "matches" if any(recorded.values()) else "not recorded"
