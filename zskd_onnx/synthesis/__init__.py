"""Ways to make inputs for soft targets. A new one is a file here and a line in ``SYNTHESES``."""

from zskd_onnx.synthesis.base import Synthesis
from zskd_onnx.synthesis.deep_inversion import DeepInversion
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.synthesis.noise import Noise

SYNTHESES: tuple[type[Synthesis], ...] = (Impressions, Noise, DeepInversion)
