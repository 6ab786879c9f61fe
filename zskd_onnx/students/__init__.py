"""Students. A new architecture is a file here that registers itself, and an import below."""

from zskd_onnx.students import alexnet, cnn, lenet, mlp
from zskd_onnx.students.choose import Choice, build, choose, parameters, sizes
from zskd_onnx.students.registry import STUDENTS, Student

__all__ = ["STUDENTS", "Choice", "Student", "alexnet", "build", "choose", "cnn", "lenet", "mlp", "parameters", "sizes"]
