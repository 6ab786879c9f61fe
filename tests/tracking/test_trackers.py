"""Experiment trackers: what TensorBoard and MLflow read back, and a tracker that fails."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SMALL, Cli
from zskd_onnx import CompressionResult, Event, UsageError, compress
from zskd_onnx.errors import MissingExtraError
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.tracking.base import TRACKERS, check_trackers, tracked


def test_unknown_and_missing_trackers() -> None:
    with pytest.raises(UsageError, match="--track 'wandb': expected tensorboard or mlflow"):
        check_trackers(["wandb"])
    for name, (_, _, package) in TRACKERS.items():
        if importlib.util.find_spec(package) is None:
            with pytest.raises(MissingExtraError, match=f"pip install 'zskd-onnx\\[{name}\\]'"):
                check_trackers([name])
        else:
            check_trackers([name])


class Broken:
    """A tracker whose server is gone after the first figures."""

    calls = 0

    def __init__(self, output: Path) -> None:
        pass

    def __call__(self, event: Event) -> None:
        Broken.calls += 1
        raise ConnectionError("the server is gone")

    def finish(self, result: CompressionResult) -> None:
        raise AssertionError

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def test_a_tracker_that_fails_does_not_end_the_run(
    finished: CompressionResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "broken", (__name__, "Broken", "pytest"))
    events: list[Event] = []
    with tracked(["broken"], tmp_path, events.append) as (listener, finish):
        for step in range(3):
            listener(Event("progress", "distillation", completed=step, total=3, figures={"loss": 1.0}))
        finish(finished)
    assert Broken.calls == 1
    notes = [event.text for event in events if event.stage == "tracking"]
    assert notes == ["broken failed and gets no more figures (the server is gone)"]
    assert len(events) == 4


def compressed(digits_file: Path, digits_data: Path, out: Path, name: str) -> CompressionResult:
    with tracked([name], out, lambda event: None) as (listener, finish):
        result = compress(
            digits_file,
            out,
            overrides=[*SMALL, "distillation.epochs=20"],
            eval_data=digits_data,
            listener=listener,
        )
        finish(result)
    return result


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_the_curves(digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = compressed(digits_file, digits_data, tmp_path / "out", "tensorboard")
    (folder,) = (tmp_path / "out" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    steps = [scalar.step for scalar in events.Scalars("distillation/loss")]
    assert steps == sorted(steps)
    assert steps[-1] == result.history["distillation"][-1]["step"]
    assert events.Scalars("result/agreement")[0].value == pytest.approx(result.agreement)
    assert "impressions" in events.Tags()["images"]


@pytest.fixture
def mlflow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("pandas")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.create_experiment("compression", artifact_location=(tmp_path / "artefacts").as_uri())
    mlflow.set_experiment("compression")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)


@pytest.mark.filterwarnings("ignore")  # of MLflow and of what it imports
def test_mlflow_has_parameters_metrics_files_and_the_model(
    mlflow_client: Any, digits_file: Path, digits_data: Path, tmp_path: Path
) -> None:
    import mlflow

    result = compressed(digits_file, digits_data, tmp_path / "out", "mlflow")
    (logged,) = mlflow_client.search_runs([mlflow_client.get_experiment_by_name("compression").experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["distillation.epochs"] == "20"
    assert logged.data.metrics["agreement"] == pytest.approx(result.agreement)
    curve = mlflow_client.get_metric_history(logged.info.run_id, "distillation/loss")
    assert curve[-1].step == result.history["distillation"][-1]["step"]
    names = {file.path for file in mlflow_client.list_artifacts(logged.info.run_id)}
    assert {"manifest.json", "recipe.yaml", "metrics.csv"} <= names
    (model,) = mlflow.search_logged_models(output_format="list")
    signature = mlflow.models.get_model_info(model.model_uri).signature
    assert [spec.name for spec in signature.inputs] == ["image"]
    x = held_out_digits()[0]
    predicted = mlflow.pyfunc.load_model(model.model_uri).predict({"image": x})["logits"]
    np.testing.assert_allclose(predicted, run(open_session(result.student), x)[0], atol=1e-5)


def test_the_option_names_the_extra(run: Cli, digits_file: Path) -> None:
    done = run("compress", digits_file, "--track", "wandb", "--format", "json")
    assert done.returncode == 2
    assert "expected tensorboard or mlflow" in json.loads(done.stdout)["error"]["message"]
