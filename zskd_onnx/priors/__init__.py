"""Distributions over soft targets. A new one is a file here and a line in ``PRIORS``."""

from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.priors.prior import Prior
from zskd_onnx.priors.similarity import class_similarity

PRIORS: tuple[type[Prior], ...] = (Dirichlet,)

__all__ = ["PRIORS", "Dirichlet", "Prior", "class_similarity"]
