"""Inputs made from soft targets, and the transfer set that keeps them.

A new synthesiser is a file here and a line in ``SYNTHESES``.
"""

from zskd_onnx.synthesis.fill import fill
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.synthesis.inversion import DeepInversion
from zskd_onnx.synthesis.noise import Noise
from zskd_onnx.synthesis.synthesis import Synthesis
from zskd_onnx.synthesis.transfer_set import INDEX, Samples, TransferSet

SYNTHESES: tuple[type[Synthesis], ...] = (Impressions, Noise, DeepInversion)

__all__ = [
    "INDEX",
    "SYNTHESES",
    "DeepInversion",
    "Impressions",
    "Noise",
    "Samples",
    "Synthesis",
    "TransferSet",
    "fill",
]
