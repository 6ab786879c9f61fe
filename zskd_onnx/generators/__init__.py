"""Networks that make samples while the student learns. A new one is a file here and a line in ``GENERATORS``."""

from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.base import Generator
from zskd_onnx.generators.dafl import DataFreeLearning

GENERATORS: tuple[type[Generator], ...] = (Adversarial, DataFreeLearning)
