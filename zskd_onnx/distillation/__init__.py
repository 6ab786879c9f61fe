"""From samples to a trained student."""

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.batches import Sources, Stored
from zskd_onnx.distillation.checkpoint import Checkpoint
from zskd_onnx.distillation.checks import Checks, Comparison, Score, compare
from zskd_onnx.distillation.photographs import takes_photographs
from zskd_onnx.distillation.settings import Distillation, Source
from zskd_onnx.distillation.training import distil

__all__ = [
    "Augmentation",
    "Checkpoint",
    "Checks",
    "Comparison",
    "Distillation",
    "Score",
    "Source",
    "Sources",
    "Stored",
    "compare",
    "distil",
    "takes_photographs",
]
