"""Generators: networks that make samples while the student is trained.

To add a kind, write a module here and add its class to ``GENERATORS``.
"""

from zskd_onnx.generators.adversarial import Adversarial
from zskd_onnx.generators.base import Generator
from zskd_onnx.generators.dafl import DataFreeLearning

GENERATORS: tuple[type[Generator], ...] = (Adversarial, DataFreeLearning)
