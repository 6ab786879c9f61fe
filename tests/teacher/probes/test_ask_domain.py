"""The input range of one net in ten writings, and of nets for vectors, sequences and costly images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.teacher.signature.writings import WRITINGS, bytes_, unit
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.teacher.load import load_classifier, load_teacher
from zskd_onnx.teacher.probes.ask_domain import ask_domain, try_domains
from zskd_onnx.teacher.probes.candidate_domains import candidate_domains


@pytest.mark.parametrize("name", WRITINGS)
def test_range_of_ten_writings_without_an_option(tmp_path: Path, name: str) -> None:
    writing = WRITINGS[name]()
    domain = load_teacher(writing.save(tmp_path / "teacher.onnx")).domain
    width = np.subtract(writing.high, writing.low)
    assert domain.layout == writing.layout
    assert np.allclose(domain.low, writing.low, atol=float(width.max()) / 50)
    assert np.allclose(domain.high, writing.high, atol=float(width.max()) / 50)
    assert domain.certainty in ("known", "calibrated", "inferred", "scale inferred")
    assert (domain.certainty == "known") == (name == "scaled inside, flipped")


def test_the_runner_up_is_named(tmp_path: Path) -> None:
    domain = load_teacher(bytes_().save(tmp_path / "teacher.onnx")).domain
    assert domain.range_source == "inferred from the teacher's predictions; runner-up: -128..127"
    assert domain.range_in_words == "in the inferred range 0..255"


@pytest.mark.parametrize(("option", "contradicts"), [((0, 1), True), ((0, 255), False)])
def test_an_option_that_the_predictions_contradict_is_doubted(
    tmp_path: Path, option: tuple[float, float], contradicts: bool
) -> None:
    domain = load_teacher(bytes_().save(tmp_path / "teacher.onnx"), input_range=option).domain
    assert (domain.low, domain.certainty) == ((0.0,), "known")
    assert domain.high == (float(option[1]),)
    assert bool(domain.doubts) == contradicts
    if contradicts:
        assert "suggest the range 0..255, not 0..1" in domain.warnings[0]


def test_a_costly_net_is_asked_for_its_scale_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load_classifier(bytes_().save(tmp_path / "teacher.onnx"))
    monkeypatch.setattr(classifier, "cost", replace(classifier.cost, multiply_adds=10**10))
    trials = try_domains(classifier, candidate_domains(classifier.domain.shape, classifier.classes))
    assert [trial.candidate.name for trial in trials] == ["0..1", "0..255", "0..16"]
    assert {trial.answers.samples for trial in trials} == {4}
    domain = ask_domain(classifier)
    assert (domain.low, domain.high, domain.certainty) == ((0.0,), (255.0,), "scale inferred")
    assert "offset" in domain.warnings[0]


def test_a_net_that_predicts_one_class_everywhere_keeps_the_default(tmp_path: Path) -> None:
    model = unit().model.__deepcopy__()
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [10])
    bias.raw_data = np.float32([100] + [0] * 9).tobytes()
    replace(unit(), model=model).save(tmp_path / "teacher.onnx")
    domain = load_teacher(tmp_path / "teacher.onnx").domain
    assert domain.assumed
    assert "the input range is assumed" in domain.warnings[0]


def trained(net: nn.Module, x: Tensor, y: Tensor, path: Path) -> Path:
    """The net, trained for some seconds, as a file."""
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(150):
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}}}
    torch.onnx.export(net.eval(), (x[:2],), path, dynamo=False, **names)  # type: ignore[arg-type]
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("scale", "expected"), [(2.0, 2.0), (20.0, 20.0), (250.0, 200.0)])
@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_scale_of_vectors_and_sequences(tmp_path: Path, scale: float, expected: float, shape: tuple[int, ...]) -> None:
    digits, labels = held_out_digits()
    x = (torch.tensor(digits).float().reshape(-1, *shape) / 8 - 1) * scale
    torch.manual_seed(0)
    first = nn.Linear(64, 64) if len(shape) == 1 else nn.Conv1d(8, 16, 3, padding=1)
    width = 64 if len(shape) == 1 else 128
    net = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 10))
    domain = load_teacher(trained(net, x, torch.tensor(labels), tmp_path / "teacher.onnx")).domain
    assert domain.high == (expected,) * len(domain.high)
    assert domain.certainty in ("scale inferred", "assumed")
    assert domain.warnings
