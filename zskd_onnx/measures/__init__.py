"""What tells how alike two classifiers are, and how good each is; a measure a file.

All but belief matching take logits (N, K). Probabilities are their softmax.
"""

from zskd_onnx.measures.accuracy import accuracy, class_accuracy
from zskd_onnx.measures.agreement import agreement
from zskd_onnx.measures.belief_matching import BeliefMatching, Transitions
from zskd_onnx.measures.calibration import calibration_error
from zskd_onnx.measures.divergence import divergence

__all__ = [
    "BeliefMatching",
    "Transitions",
    "accuracy",
    "agreement",
    "calibration_error",
    "class_accuracy",
    "divergence",
]
