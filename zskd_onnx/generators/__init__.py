"""Nets that make samples while the student learns. A new way is a file here and a line in ``GENERATORS``."""

from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.dafl import DataFreeLearning
from zskd_onnx.generators.generator import Generator
from zskd_onnx.generators.network import build_generator
from zskd_onnx.generators.training import Augment, GeneratorTraining

GENERATORS: tuple[type[Generator], ...] = (Adversarial, DataFreeLearning)

__all__ = [
    "GENERATORS",
    "Adversarial",
    "Augment",
    "DataFreeLearning",
    "Generator",
    "GeneratorTraining",
    "build_generator",
]
