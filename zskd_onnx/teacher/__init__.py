"""From an ONNX file to a differentiable torch module; ``load_teacher`` is the way in."""

from zskd_onnx.teacher.domain import Domain
from zskd_onnx.teacher.head import Head
from zskd_onnx.teacher.loading import TeacherOptions, load_teacher
from zskd_onnx.teacher.teacher import Output, Teacher

__all__ = ["Domain", "Head", "Output", "Teacher", "TeacherOptions", "load_teacher"]
