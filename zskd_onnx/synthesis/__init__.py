"""Inputs made from soft targets, and the transfer set that keeps them.

A new synthesiser is a file here and a line in ``SYNTHESES``.
"""

from zskd_onnx.synthesis.fill import fill
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.synthesis.synthesis import Synthesis
from zskd_onnx.synthesis.transfer_set import INDEX, Samples, TransferSet

SYNTHESES: tuple[type[Synthesis], ...] = (Impressions,)

__all__ = ["INDEX", "SYNTHESES", "Impressions", "Samples", "Synthesis", "TransferSet", "fill"]
