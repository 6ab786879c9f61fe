"""From an ONNX file to a differentiable torch module; ``load_teacher`` is the way in."""

from zskd_onnx.teacher.domain import Domain
from zskd_onnx.teacher.fixed_inputs import Fixed
from zskd_onnx.teacher.head import Head
from zskd_onnx.teacher.loading import TeacherOptions, load_teacher
from zskd_onnx.teacher.output import Labels, Names, Output
from zskd_onnx.teacher.parity import open_source
from zskd_onnx.teacher.teacher import Teacher

__all__ = [
    "Domain",
    "Fixed",
    "Head",
    "Labels",
    "Names",
    "Output",
    "Teacher",
    "TeacherOptions",
    "load_teacher",
    "open_source",
]
