"""How long onnxruntime takes for teacher and student on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime as ort
import torch

from zskd_onnx.export.export import ExportedStudent
from zskd_onnx.system.latency import latency_conditions, session_latency
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.signature.domain import Domain


@dataclass(frozen=True)
class Latency:
    """Median times of one batch.

    Attributes:
        teacher, student: milliseconds.
        conditions: device, threads and batch size, in words.
    """

    teacher: float
    student: float
    conditions: str


def measure_latency(made: ExportedStudent, domain: Domain) -> Latency:
    """Time both files on random samples: one, or as many as the teacher's file takes.

    Args:
        made: the sessions of both files.
        domain: the input of both.
    """
    size = made.teacher.get_inputs()[0].shape[0]
    batch = size if isinstance(size, int) else 1
    unit = torch.rand((batch, *domain.shape), generator=rng_for(0, "latency"))
    feeds = {domain.name: domain.to_array(domain.to_file(unit))}

    def milliseconds(session: ort.InferenceSession) -> float:
        return round(1000 * session_latency(session, feeds), 4)

    on_gpu = made.teacher.get_providers()[0] != "CPUExecutionProvider"
    return Latency(milliseconds(made.teacher), milliseconds(made.student), latency_conditions(batch, on_gpu=on_gpu))
