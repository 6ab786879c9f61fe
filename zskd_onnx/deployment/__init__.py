"""From a trained student to a verified ONNX file."""

from zskd_onnx.deployment.evaluation import EvaluationData, Score, read_evaluation_data, read_samples, score
from zskd_onnx.deployment.export import Replacement, describe_teacher, export, save
from zskd_onnx.deployment.labels import add_labels
from zskd_onnx.deployment.parity import Parity, check_interface, check_values
from zskd_onnx.deployment.pictures import draw_samples, draw_similarity
from zskd_onnx.deployment.settings import Deployment

__all__ = [
    "Deployment",
    "EvaluationData",
    "Parity",
    "Replacement",
    "Score",
    "add_labels",
    "check_interface",
    "check_values",
    "describe_teacher",
    "draw_samples",
    "draw_similarity",
    "export",
    "read_evaluation_data",
    "read_samples",
    "save",
    "score",
]
