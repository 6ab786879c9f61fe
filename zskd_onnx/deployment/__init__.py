"""From a trained student to a verified ONNX file."""

from zskd_onnx.deployment.delivery import deliver
from zskd_onnx.deployment.evaluation import EvaluationData, Score, read_evaluation_data, read_samples, score
from zskd_onnx.deployment.export import describe_teacher, save
from zskd_onnx.deployment.parity import Parity, check_interface
from zskd_onnx.deployment.pictures import draw_samples, draw_similarity
from zskd_onnx.deployment.settings import Deployment

__all__ = [
    "Deployment",
    "EvaluationData",
    "Parity",
    "Score",
    "check_interface",
    "deliver",
    "describe_teacher",
    "draw_samples",
    "draw_similarity",
    "read_evaluation_data",
    "read_samples",
    "save",
    "score",
]
