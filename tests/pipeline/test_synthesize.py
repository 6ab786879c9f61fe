"""Transfer sets for other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime.quantization import QuantFormat, quantize_static
from PIL import Image
from safetensors.numpy import load_file, save

from tests.conftest import SMALL
from zskd_onnx import CalibrationReader, Cancelled, Event, SampleSet, UsageError, compress, synthesize
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session, run

OPTIONS = [option for option in SMALL if option.startswith(("synthesis.iterations", "held_out"))]


@pytest.fixture(scope="module")
def samples(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    return synthesize(digits_file, tmp_path_factory.mktemp("samples") / "set", count=150, overrides=OPTIONS)


def test_predictions_are_those_of_onnxruntime(samples: SampleSet, digits_file: Path) -> None:
    with np.load(samples.samples) as file:
        x = file[samples.input_name]
    assert (x.shape, str(x.dtype)) == (samples.shape, samples.dtype)
    assert x.shape == (150, 1, 8, 8)
    assert 0 <= x.min() < 1 < 15 < x.max() <= 16  # the digits' range
    logits = torch.from_numpy(run(open_session(digits_file), x)[0])
    with np.load(samples.predictions) as file:
        np.testing.assert_allclose(file["probabilities"], logits.softmax(1), atol=1e-5)
        np.testing.assert_array_equal(file["classes"], logits.argmax(1))


@pytest.mark.parametrize("to", ["npy", "safetensors", "png"])
def test_formats_hold_the_same_samples(samples: SampleSet, digits_file: Path, to: str) -> None:
    with np.load(samples.samples) as file:
        x = file[samples.input_name]
    with np.load(samples.predictions) as file:
        classes = file["classes"]
    other = synthesize(digits_file, samples.folder, to=to, count=150, overrides=OPTIONS)
    if to == "png":
        paths = sorted(other.samples.glob("*/*.png"), key=lambda path: path.name)
        assert [int(path.parent.name) for path in paths] == classes.tolist()
        pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
        np.testing.assert_allclose(pixels / 255 * 16, x[:, 0], atol=16 / 255 / 2 + 1e-6)
    else:
        read = np.load(other.samples) if to == "npy" else load_file(other.samples)[samples.input_name]
        np.testing.assert_array_equal(read, x)
    if to == "safetensors":
        assert other.samples.read_bytes() == save({samples.input_name: x})


def test_a_run_takes_the_set(samples: SampleSet, digits_file: Path, tmp_path: Path) -> None:
    options = {"overrides": [*SMALL, "synthesis.count=150"], "transfer_set": samples.folder, "allow_degenerate": True}
    assert compress(digits_file, tmp_path / "out", **options).seconds["synthesis"] < 5


def test_onnxruntimes_quantiser_takes_the_reader(samples: SampleSet, digits_file: Path, tmp_path: Path) -> None:
    reader = CalibrationReader(samples.samples, batch_size=64)
    sizes = [len(feed[samples.input_name]) for feed in iter(reader.get_next, None)]
    assert sizes == [64, 64, 22]
    reader.rewind()
    quantize_static(digits_file, tmp_path / "int8.onnx", reader, quant_format=QuantFormat.QDQ)
    x, y = held_out_digits()
    (scores,) = run(open_session(tmp_path / "int8.onnx"), x)
    assert (scores.argmax(1) == y).mean() > 0.9


def test_an_interrupted_call_continues(digits_file: Path, tmp_path: Path) -> None:
    def cancel(event: Event) -> None:
        if event.kind == "progress" and event.completed:
            raise Cancelled

    options = {"count": 1200, "overrides": [*OPTIONS, "synthesis.batch_size=100"]}
    with pytest.raises(Cancelled):
        synthesize(digits_file, tmp_path / "set", listener=cancel, **options)
    assert not (tmp_path / "set" / "samples.npz").exists()
    first = synthesize(digits_file, tmp_path / "set", **options)
    second = synthesize(digits_file, tmp_path / "other", **options)
    assert first.samples.read_bytes() == second.samples.read_bytes()


def test_what_is_refused(samples: SampleSet, digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'csv': expected npz"):
        synthesize(digits_file, tmp_path / "set", to="csv")
    with pytest.raises(UsageError, match="recipe 'procedural' synthesises no set"):
        synthesize(digits_file, tmp_path / "set", recipe="procedural")
    with pytest.raises(UsageError, match="made from another teacher, recipe or seed"):
        synthesize(digits_file, samples.folder, count=150, overrides=OPTIONS, seed=1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty, and holds no transfer set"):
        synthesize(digits_file, tmp_path, count=150, overrides=OPTIONS, overwrite=True)
    with pytest.raises(UsageError, match=r"expected an \.npz with one array"):
        CalibrationReader(samples.predictions)


def test_overwriting_leaves_other_files(digits_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    synthesize(digits_file, folder, count=20, overrides=OPTIONS)
    (folder / "notes.txt").write_text("mine")
    replaced = synthesize(digits_file, folder, count=20, overrides=OPTIONS, seed=1, to="npy", overwrite=True)
    assert {path.name for path in folder.iterdir()} >= {"notes.txt", "samples.npy", "predictions.npz"}
    assert not (folder / "samples.npz").exists()
    assert np.load(replaced.samples).shape == (20, 1, 8, 8)
