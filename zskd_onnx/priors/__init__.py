"""Priors: distributions of soft targets. To add one, write a module here and add its class to ``PRIORS``."""

from zskd_onnx.priors.base import Prior
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.priors.normal import Normal
from zskd_onnx.priors.one_hot import OneHot

PRIORS: tuple[type[Prior], ...] = (Dirichlet, Normal, OneHot)
