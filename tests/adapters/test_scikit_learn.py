"""adapters/scikit_learn.py"""

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


def by_class(answers: list[Any], task: str) -> np.ndarray:
    keys = NAMES[task] if task == "binary" else range(10)
    return np.array([[row[key] for key in keys] for row in answers])


@pytest.mark.parametrize("zipmap", [False, True], ids=["array", "zipmap"])
@pytest.mark.parametrize("task", ["multi", "binary"])
@pytest.mark.parametrize("kind", ["logreg", "mlp"])
class TestTrained:
    def write(self, adapter: Adapter, kind: str, task: str, zipmap: bool) -> dict[str, np.ndarray]:
        adapter.write(f"{kind}_{task}.skops", "--trust", ADAM, *(["--zipmap"] if zipmap else []))
        return adapter.facts(f"{kind}_{task}")

    def test_probabilities(self, adapter: Adapter, kind: str, task: str, zipmap: bool) -> None:
        facts = self.write(adapter, kind, task, zipmap)
        label, answers = outputs(adapter.output, facts["x"])
        np.testing.assert_allclose(by_class(answers, task) if zipmap else answers, facts["scores"], atol=1e-5)
        names = NAMES[task]
        assert json.loads(metadata(adapter.output)["zskd.classes"]) == names
        assert [str(one) for one in label] == [names[n] for n in facts["scores"].argmax(1)]

    def test_teacher(self, adapter: Adapter, kind: str, task: str, zipmap: bool) -> None:
        facts = self.write(adapter, kind, task, zipmap)
        domain = check_teacher(adapter.output, facts, len(NAMES[task])).domain
        np.testing.assert_allclose(domain.low, facts["mean"] - 3 * facts["scale"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(domain.high, facts["mean"] + 3 * facts["scale"], rtol=1e-6, atol=1e-6)
        assert not domain.assumed


def listed(text: str) -> np.ndarray:
    return np.array([float(part) for part in text.split(",")])


def test_a_standard_scaler_tells_the_range(adapter: Adapter) -> None:
    adapter.write("logreg_multi.skops")
    facts, found = adapter.facts("logreg_multi"), metadata(adapter.output)
    np.testing.assert_allclose(listed(found["zskd.low"]), facts["mean"] - 3 * facts["scale"], atol=1e-6)
    np.testing.assert_allclose(listed(found["zskd.high"]), facts["mean"] + 3 * facts["scale"], atol=1e-6)
    assert "zskd.input_range" not in found


def test_a_min_max_scaler_tells_the_range(adapter: Adapter) -> None:
    adapter.write("minmax.skops")
    found = metadata(adapter.output)
    assert listed(found["zskd.low"]).min() == 0
    assert listed(found["zskd.high"]).max() == 16
    assert (listed(found["zskd.low"]) < listed(found["zskd.high"])).all()


def test_an_option_overrules_the_scaler(adapter: Adapter) -> None:
    adapter.write("minmax.skops", "--input-range", "0,16")
    found = metadata(adapter.output)
    assert found["zskd.input_range"] == "0,16"
    assert "zskd.low" not in found


def test_without_a_scaler_nothing_is_said_of_the_range(adapter: Adapter) -> None:
    adapter.write("bare.skops")
    assert metadata(adapter.output).keys() == {"zskd.classes"}


def test_a_pickle_is_refused_unless_allowed(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "mlp_multi.pkl")
    adapter.write("mlp_multi.pkl", "--allow-pickle")


def test_a_refused_pickle_was_not_read(adapter: Adapter, tmp_path: Path) -> None:
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Touches(tmp_path / "touched")))
    adapter.refuse(2, str(tmp_path / "hostile.pkl"))
    assert not (tmp_path / "touched").exists()


def test_skops_types_have_to_be_trusted(adapter: Adapter) -> None:
    assert f"--trust {ADAM}" in adapter.refuse(2, "mlp_multi.skops")


def test_a_regression(adapter: Adapter) -> None:
    assert "LinearRegression" in adapter.refuse(3, "regression.skops")
