"""The nearest names."""

from __future__ import annotations

import pytest

from zskd_onnx.config.key_names import RECIPE_KEYS
from zskd_onnx.config.suggest import nearest, nearest_keys


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("epochs", "distillation.epochs"),
        ("distillation.lr", "distillation.learning_rate"),
        ("distillation.batch", "distillation.batch_size"),
        ("synthesis.countt", "synthesis.count"),
        ("augmentation.flip", "distillation.augmentation.flip"),
        ("fine_tuning.epoch", "fine_tuning.epochs"),
        ("temperature", "distillation.temperature"),
        ("min_agrement", "deployment.min_agreement"),
    ],
)
def test_nearest_keys(path: str, first: str) -> None:
    hint = nearest_keys(path, RECIPE_KEYS)
    assert hint.startswith(f"did you mean {first}")
    assert hint.count(" or ") <= 2


def test_nothing_is_near() -> None:
    assert nearest_keys("qqqqqqqq", RECIPE_KEYS) == "'zskd-onnx recipes schema' lists all keys"
    assert nearest("qqqqqqqq", ("best", "zskd")) == ""
    assert nearest("bset", ("best", "zskd")) == "did you mean 'best'?"
