"""The adapter for scikit-learn, adapters/scikit_learn.py."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.adapters.conftest import Adapter, Touches, check_teacher, metadata, outputs

pytestmark = pytest.mark.adapters

ADAM = "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"
NAMES = {"multi": [str(n) for n in range(10)], "binary": ["even", "odd"]}


def by_class(maps: list[Any], task: str) -> np.ndarray:
    """Probabilities (N, K) of a list of maps from class to probability."""
    keys = NAMES[task] if task == "binary" else range(10)
    return np.array([[row[key] for key in keys] for row in maps])


@pytest.mark.parametrize("zipmap", [False, True], ids=["array", "zipmap"])
@pytest.mark.parametrize("task", ["multi", "binary"])
@pytest.mark.parametrize("kind", ["logreg", "mlp"])
class TestTrained:
    def write(self, adapter: Adapter, kind: str, task: str, zipmap: bool) -> dict[str, np.ndarray]:
        adapter.write(f"{kind}_{task}.skops", "--trust", ADAM, *(["--zipmap"] if zipmap else []))
        return adapter.facts(f"{kind}_{task}")

    def test_probabilities(self, adapter: Adapter, kind: str, task: str, zipmap: bool) -> None:
        facts = self.write(adapter, kind, task, zipmap)
        labels, probabilities = outputs(adapter.output, facts["x"])
        np.testing.assert_allclose(
            by_class(probabilities, task) if zipmap else probabilities, facts["scores"], atol=1e-5
        )
        names = NAMES[task]
        assert json.loads(metadata(adapter.output)["zskd.classes"]) == names
        assert [str(label) for label in labels] == [names[n] for n in facts["scores"].argmax(1)]

    def test_teacher(self, adapter: Adapter, kind: str, task: str, zipmap: bool) -> None:
        facts = self.write(adapter, kind, task, zipmap)
        domain = check_teacher(adapter.output, facts, len(NAMES[task])).domain
        np.testing.assert_allclose(domain.low, facts["mean"] - 3 * facts["scale"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(domain.high, facts["mean"] + 3 * facts["scale"], rtol=1e-6, atol=1e-6)
        assert not domain.assumed


def numbers(text: str) -> np.ndarray:
    """Parse numbers separated by commas."""
    return np.array([float(part) for part in text.split(",")])


def test_range_from_a_standard_scaler(adapter: Adapter) -> None:
    adapter.write("logreg_multi.skops")
    facts, entries = adapter.facts("logreg_multi"), metadata(adapter.output)
    np.testing.assert_allclose(numbers(entries["zskd.low"]), facts["mean"] - 3 * facts["scale"], atol=1e-6)
    np.testing.assert_allclose(numbers(entries["zskd.high"]), facts["mean"] + 3 * facts["scale"], atol=1e-6)
    assert "zskd.input_range" not in entries


def test_range_from_a_min_max_scaler(adapter: Adapter) -> None:
    adapter.write("minmax.skops")
    entries = metadata(adapter.output)
    assert numbers(entries["zskd.low"]).min() == 0
    assert numbers(entries["zskd.high"]).max() == 16
    assert (numbers(entries["zskd.low"]) < numbers(entries["zskd.high"])).all()


def test_option_overrides_the_scaler(adapter: Adapter) -> None:
    adapter.write("minmax.skops", "--input-range", "0,16")
    entries = metadata(adapter.output)
    assert entries["zskd.input_range"] == "0,16"
    assert "zskd.low" not in entries


def test_no_range_without_a_scaler(adapter: Adapter) -> None:
    adapter.write("bare.skops")
    assert metadata(adapter.output).keys() == {"zskd.classes"}


def test_pickle_needs_allow_pickle(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "mlp_multi.pkl")
    adapter.write("mlp_multi.pkl", "--allow-pickle")


def test_refused_pickle_is_not_read(adapter: Adapter, tmp_path: Path) -> None:
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Touches(tmp_path / "touched")))
    adapter.refuse(2, str(tmp_path / "hostile.pkl"))
    assert not (tmp_path / "touched").exists()


def test_skops_types_need_trust(adapter: Adapter) -> None:
    assert f"--trust {ADAM}" in adapter.refuse(2, "mlp_multi.skops")


def test_regression_is_refused(adapter: Adapter) -> None:
    assert "LinearRegression" in adapter.refuse(3, "regression.skops")
