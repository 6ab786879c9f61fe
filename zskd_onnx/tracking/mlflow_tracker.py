"""MLflow: recipe fields as parameters, figures as metrics, files as artefacts, and the student as a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import onnx
import yaml

from zskd_onnx.errors import MissingExtraError
from zskd_onnx.events import Event
from zskd_onnx.tracking.figures import final_figures
from zskd_onnx.version import __version__

if TYPE_CHECKING:
    from zskd_onnx.pipeline.result import CompressionResult

STUDENT = "student"
"""Name of the logged model."""


class MlflowTracker:
    """An MLflow run that begins and ends with the context.

    Server and experiment are those of MLflow's own settings, such as ``MLFLOW_TRACKING_URI`` and
    ``MLFLOW_EXPERIMENT_NAME``.
    """

    def __init__(self, output: str | Path) -> None:
        """
        Args:
            output: folder of the run, whose name the MLflow run gets.

        Raises:
            MissingExtraError: MLflow is not installed.
        """
        try:
            import mlflow
        except ImportError as error:
            raise MissingExtraError("MLflow is not installed; run pip install 'zskd-onnx[mlflow]'") from error
        self._mlflow = mlflow
        self._name = Path(output).resolve().name

    def __call__(self, event: Event) -> None:
        if event.kind == "progress" and event.figures:
            figures = {f"{event.stage}/{name}": float(value) for name, value in event.figures.items()}
            self._mlflow.log_metrics(figures, step=event.completed)

    def finish(self, result: CompressionResult) -> None:
        """Log recipe, figures, files (without the transfer set) and the model with its signature."""
        folder = result.student.parent
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        self._mlflow.log_params(dict(_flat(recipe)))
        self._mlflow.log_metrics(final_figures(result))
        self._mlflow.set_tag("zskd_onnx", __version__)
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path != result.student:
                self._mlflow.log_artifact(str(path))
        model = onnx.load(result.student)
        self._mlflow.onnx.log_model(model, name=STUDENT, signature=_signature(model))

    def __enter__(self) -> Self:
        self._mlflow.start_run(run_name=self._name)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)
        self._mlflow.end_run("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, with names such as "distillation.epochs"."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _signature(model: onnx.ModelProto) -> Any:
    """Inputs and outputs of a model, as MLflow describes them; outputs that are no tensors are left out."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(values: Any) -> Schema:
        return Schema(
            [
                TensorSpec(
                    onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
                    tuple(
                        dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim
                    ),
                    value.name,
                )
                for value in values
                if value.type.HasField("tensor_type")
            ]
        )

    return ModelSignature(inputs=schema(model.graph.input), outputs=schema(model.graph.output))
