"""Distributions over soft targets. A new one is a file here and a line in ``PRIORS``."""

from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.priors.normal import Normal
from zskd_onnx.priors.one_hot import OneHot
from zskd_onnx.priors.prior import Prior, Sampler
from zskd_onnx.priors.similarity import class_similarity

PRIORS: tuple[type[Prior], ...] = (Dirichlet, Normal, OneHot)

__all__ = ["PRIORS", "Dirichlet", "Normal", "OneHot", "Prior", "Sampler", "class_similarity"]
