"""Synthesis of samples for soft targets. To add a kind, write a module here and add its class to ``SYNTHESES``."""

from zskd_onnx.synthesis.base import Synthesis
from zskd_onnx.synthesis.deep_inversion import DeepInversion
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.synthesis.noise import Noise

SYNTHESES: tuple[type[Synthesis], ...] = (Impressions, Noise, DeepInversion)
