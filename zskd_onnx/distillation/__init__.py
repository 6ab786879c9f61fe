"""From a transfer set to a trained student."""

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.losses import soft_target_loss
from zskd_onnx.distillation.training import Distillation, agreement, distil

__all__ = ["Augmentation", "Distillation", "agreement", "distil", "soft_target_loss"]
