"""How long onnxruntime takes for teacher and student on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from zskd_onnx.students.describe_thinned import teacher_milliseconds
from zskd_onnx.students.thinning.feeds import file_batch
from zskd_onnx.students.thinning.thin import random_feeds
from zskd_onnx.system.latency import latency_conditions, median_latency
from zskd_onnx.teacher.teacher import Teacher


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


def measure_latency(teacher: Teacher, student: onnx.ModelProto) -> Latency:
    """Time both files on random samples.

    Args:
        student: content of the student's file, which may lack inputs of the teacher that ``fix`` made constants.
    """
    batch = file_batch(teacher) or 1
    inputs = {value.name for value in student.graph.input}
    feeds = {name: value for name, value in random_feeds(teacher, batch).items() if name in inputs}
    milliseconds = round(1000 * median_latency(student.SerializeToString(), feeds), 4)
    return Latency(teacher_milliseconds(teacher), milliseconds, latency_conditions(batch))
