"""ONNX's nine light models: old files of the model zoo, with their own weights and with random ones.

``load_teacher`` compares each with onnxruntime. These tests also check the classes, the shapes and
the final layer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.light_models import light_models, with_random_weights
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.parity import TOLERANCE

FEATURES = {
    "bvlc_alexnet": 4096,
    "densenet121": 1024,
    "inception_v1": 1024,
    "inception_v2": 1024,
    "resnet50": 2048,
    "shufflenet": 544,
    "squeezenet": None,
    "vgg19": 4096,
    "zfnet512": 1024,
}
"""Inputs of the final fully connected layer. SqueezeNet has no such layer, since a ReLU follows its last convolution."""

QUICK = ("shufflenet", "squeezenet")
MODELS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FEATURES]


def path_of(name: str) -> Path:
    return next(path for path in light_models() if path.stem == f"light_{name}")


def test_all_nine_files_exist() -> None:
    assert {path.stem.removeprefix("light_") for path in light_models()} == set(FEATURES)


@pytest.mark.parametrize("name", MODELS)
def test_loads_with_its_own_weights(name: str) -> None:
    teacher = load_teacher(path_of(name))
    assert teacher.classes == 1000
    assert teacher.domain.shape == (3, 224, 224)
    assert teacher.parity < TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_loads_with_random_weights(name: str, tmp_path: Path) -> None:
    teacher = load_teacher(with_random_weights(path_of(name), tmp_path))
    assert teacher.parity < TOLERANCE
    head = teacher.head
    assert (None if head is None else tuple(head.weight.shape)) == (FEATURES[name] and (1000, FEATURES[name]))
