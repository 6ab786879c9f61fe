"""From an ONNX file to a differentiable torch module; ``load_teacher`` is the way in."""

from zskd_onnx.teacher.answer import Answer, Asking
from zskd_onnx.teacher.domain import Domain
from zskd_onnx.teacher.fixed_inputs import Fixed
from zskd_onnx.teacher.head import Head
from zskd_onnx.teacher.loading import TeacherOptions, load_teacher
from zskd_onnx.teacher.output import Labels, Names, Output
from zskd_onnx.teacher.parity import open_source
from zskd_onnx.teacher.probe import (
    BatchNormProbe,
    BlocksProbe,
    Probe,
    batch_norm_probe,
    blocks_probe,
    features_probe,
    inputs_probe,
    last_convolution_probe,
)
from zskd_onnx.teacher.second_last import SecondLast, find_second_last
from zskd_onnx.teacher.teacher import Teacher
from zskd_onnx.teacher.weighted import WeightedLayer, weighted_layers

__all__ = [
    "Answer",
    "Asking",
    "BatchNormProbe",
    "BlocksProbe",
    "Domain",
    "Fixed",
    "Head",
    "Labels",
    "Names",
    "Output",
    "Probe",
    "SecondLast",
    "Teacher",
    "TeacherOptions",
    "WeightedLayer",
    "batch_norm_probe",
    "blocks_probe",
    "features_probe",
    "find_second_last",
    "inputs_probe",
    "last_convolution_probe",
    "load_teacher",
    "open_source",
    "weighted_layers",
]
