"""Python objects as inputs of a run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.conftest import SMALL
from zskd_onnx import Cancelled, DomainWarning, Event, UsageError, compress
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.pipeline.python_inputs import samples_file

SETTINGS = {
    "synthesis": {"count": 300, "iterations": 5},
    "held_out": 100,
    "distillation": {"epochs": 2},
}


class Net(nn.Sequential):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 16), nn.ReLU(), nn.Linear(16, classes))


def test_objects_give_the_same_student_as_files(digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    x, y = held_out_digits()
    by_files = compress(
        digits_file,
        tmp_path / "files",
        overrides=[*SMALL[:-1]],
        student=f"{__name__}:Net",
        data=digits_data,
        eval_data=digits_data,
    )
    by_objects = compress(
        onnx.load(digits_file),
        tmp_path / "objects",
        overrides=SETTINGS,
        student=Net,
        data={"x": x, "y": y},
        eval_data=(x, y),
    )
    assert by_objects.accuracy == by_files.accuracy
    first, second = (onnx.load(result.student) for result in (by_files, by_objects))
    assert [t.SerializeToString() for t in first.graph.initializer] == [
        t.SerializeToString() for t in second.graph.initializer
    ]


def test_a_run_of_objects_is_resumed_without_them(digits_file: Path, tmp_path: Path) -> None:
    x, y = held_out_digits()

    def cancel(event: Event) -> None:
        if event.stage == "distillation" and event.kind == "progress":
            raise Cancelled

    options: dict[str, Any] = {"overrides": SETTINGS, "student": "cnn", "eval_data": (x, y)}
    model = onnx.load(digits_file)
    with pytest.raises(Cancelled):
        compress(model, tmp_path / "out", listener=cancel, **options)
    assert compress(None, tmp_path / "out", resume=True).accuracy is not None
    again = compress(model, tmp_path / "out", resume=True, eval_data=(x, y))
    assert again.student.exists()
    with pytest.raises(UsageError, match="--eval-data"):
        compress(None, tmp_path / "out", resume=True, eval_data=(x[:100], y[:100]))


def test_inputs_of_an_earlier_run_are_removed(digits_file: Path, tmp_path: Path) -> None:
    x, y = held_out_digits()
    options: dict[str, Any] = {"overrides": SETTINGS, "student": "cnn", "overwrite": True}
    for count in (450, 400):
        compress(digits_file, tmp_path / "out", eval_data=(x[:count], y[:count]), **options)
    (kept,) = (tmp_path / "out" / "inputs").iterdir()
    with np.load(kept) as file:
        assert len(file["y"]) == 400


def test_a_run_that_does_not_start_leaves_nothing(digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="student 'none'"):
        compress(onnx.load(digits_file), tmp_path / "out", student="none")
    assert not {"inputs", "run.json"} & {path.name for path in (tmp_path / "out").iterdir()}


def test_a_module_starts_with_its_weights(digits_file: Path, tmp_path: Path) -> None:
    module = Net((1, 8, 8), 10)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    compress(digits_file, tmp_path / "out", overrides=SETTINGS, student=module, allow_degenerate=True)
    torch.testing.assert_close(module.state_dict(), before)  # a copy was trained


@pytest.mark.parametrize("samples", [(1, 2, 3), {"images": 1}, {"x": 1, "z": 2}])
def test_other_samples_are_refused(tmp_path: Path, samples: Any) -> None:
    with pytest.raises(UsageError, match="data: expected a path, an array x, a pair"):
        samples_file(samples, "data", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_without_its_weights_is_refused(digits_file: Path, tmp_path: Path) -> None:
    model = onnx.load(digits_file)
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(UsageError, match=r"load them with onnx\.load"):
        compress(onnx.load(tmp_path / "model.onnx", load_external_data=False), tmp_path / "out")


def test_a_doubtful_range_is_a_warning(digits_file: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DomainWarning)
        compress(digits_file, tmp_path / "known", overrides=SETTINGS, student="cnn")
        with pytest.raises(DomainWarning, match=r"the options give the input range 0\.\.1, but the file gives 0\.\.16"):
            compress(digits_file, tmp_path / "doubtful", overrides=SETTINGS, input_range=(0, 1))
