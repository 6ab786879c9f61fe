"""Students. A new architecture is a file here that registers itself, and an import below."""

from zskd_onnx.students import alexnet, cnn, lenet, mlp, resnet, vgg, wide_resnet
from zskd_onnx.students.choose import Choice, build, choose
from zskd_onnx.students.describe import Description, describe, parameters
from zskd_onnx.students.inherit import deviates, inherit, inherits
from zskd_onnx.students.observed import Observed
from zskd_onnx.students.registry import STUDENTS, Student

__all__ = [
    "STUDENTS",
    "Choice",
    "Description",
    "Observed",
    "Student",
    "alexnet",
    "build",
    "choose",
    "cnn",
    "describe",
    "deviates",
    "inherit",
    "inherits",
    "lenet",
    "mlp",
    "parameters",
    "resnet",
    "vgg",
    "wide_resnet",
]
