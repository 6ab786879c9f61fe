"""What recipes need of a teacher or of the user, in the words of messages."""

from __future__ import annotations

from zskd_onnx.settings import Requirement

FALLBACK_RECIPE = "zskd-uniform"
"""The recipe of a run that names none, where the teacher lacks what the default recipe needs. It needs nothing."""

MISSING: dict[Requirement, str] = {
    "head": "a final fully connected layer, and the teacher has none",
    "penultimate": "a fully connected layer before the final one, and the teacher has none",
    "convolution": "a convolution, and the teacher has none",
    "batch_norm": "batch-normalisation statistics, and the file has none (exporters often fold them into convolutions)",
    "positions": "images, sequences or volumes, and the teacher takes vectors",
}
"""Requirement -> the part of a message that says what is missing."""
