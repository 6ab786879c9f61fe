"""Normal targets, compared with closed forms."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import Exports, SaveModel
from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.priors.normal import Normal, covariance_root, draw_normal
from zskd_onnx.priors.one_hot import OneHot
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.teacher import Teacher


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draws_have_the_covariance() -> None:
    r = torch.tensor([[1.0, 0.8, -0.3], [0.8, 1.0, 0.1], [-0.3, 0.1, 1.0]], dtype=torch.float64)
    s = draw_normal(covariance_root(r), 200_000, rng_with()).double()
    torch.testing.assert_close(s.T @ s / len(s), r, rtol=0, atol=0.015)
    torch.testing.assert_close(s.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=0.01)


@pytest.mark.parametrize("slip", [0.0, -1e-9])
def test_a_singular_or_slightly_indefinite_matrix(slip: float) -> None:
    """Two equal rows give the same variable. Rounding may make an eigenvalue negative."""
    r = torch.tensor([[1.0, 1.0], [1.0, 1.0 + slip]], dtype=torch.float64)
    s = draw_normal(covariance_root(r), 1000, rng_with())
    assert torch.isfinite(s).all()
    torch.testing.assert_close(s[:, 0], s[:, 1], rtol=0, atol=1e-4)


def test_logits_have_the_covariance_of_the_class_weights(digits: Teacher) -> None:
    """y = softmax(s / tau), so tau log y equals s up to a constant; correlations are those of eq. 5."""
    prior = Normal(layer="softmax", sigma=4.0, balanced=False, temperature=2.0)
    y = prior.sampler(digits)(0, 100_000, rng_with()).double()
    s = 2.0 * y.log()
    s = s - s.mean(1, keepdim=True)
    rows = torch.nn.functional.normalize(digits.head.weight.double(), dim=1)
    centre = torch.eye(10, dtype=torch.float64) - 0.1
    torch.testing.assert_close(s.T @ s / len(s), centre @ (4.0 * rows @ rows.T) @ centre, rtol=0, atol=0.15)


def test_larger_sigmas_give_higher_confidence(digits: Teacher) -> None:
    """Wang 2021, figure 2."""
    peaks = [
        float(Normal(layer="softmax", sigma=sigma).sampler(digits)(0, 2000, rng_with()).amax(1).mean())
        for sigma in (1.0, 25.0, 100.0, 400.0)
    ]
    assert peaks == sorted(peaks)
    assert peaks[0] < 0.13
    assert peaks[-1] > 0.25


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_automatic_sigma_gives_the_requested_confidence(exports: Exports, confidence: float) -> None:
    """The inverse of Wang 2021, figure 2, on draws other than those of the calibration."""
    teacher = load_teacher(exports.path("lenet5", "dynamo"))
    prior = Normal(confidence=confidence, temperature=1.0, balanced=False)
    y = prior.sampler(teacher)(0, 4000, rng_with(7))
    assert float(y.amax(1).mean()) == pytest.approx(confidence, abs=0.02)
    fixed = Normal(sigma=prior.deviation(teacher) ** 2, temperature=1.0, balanced=False)
    torch.testing.assert_close(fixed.sampler(teacher)(0, 50, rng_with()), prior.sampler(teacher)(0, 50, rng_with()))


@pytest.mark.parametrize("activation", [True, False])
def test_the_penultimate_layer(exports: Exports, activation: bool) -> None:
    """T_rest of eq. 7, compared with the last layers of the exported module."""
    teacher = load_teacher(exports.path("lenet5", "dynamo"))
    *_, before, relu, last = exports.network("lenet5").module
    prior = Normal(sigma=9.0, balanced=False, temperature=20.0, activation=activation)
    y = prior.sampler(teacher)(0, 64, rng_with(3))
    rows = torch.nn.functional.normalize(before.weight.detach().double(), dim=1)
    s = 3.0 * draw_normal(covariance_root(rows @ rows.T), 64, rng_with(3))
    with torch.no_grad():
        expected = (last(relu(s) if activation else s) / 20.0).softmax(1)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_balanced_draws_have_the_requested_class(exports: Exports) -> None:
    """Without repeated draws, fewer than half have the requested class."""
    teacher = load_teacher(exports.path("lenet5", "dynamo"))
    classes = torch.arange(33, 433) % 10
    share = {
        balanced: float(
            (Normal(balanced=balanced).sampler(teacher)(33, 400, rng_with()).argmax(1) == classes).float().mean()
        )
        for balanced in (True, False)
    }
    assert share[True] > 0.95  # one class of this untrained network hardly ever has the largest logit
    assert share[False] < 0.5


def test_only_dirichlet_draws_have_another_class(digits: Teacher) -> None:
    """Wang 2021: Dirichlet draws often peak at another class than the one they were drawn for; normal ones never do."""
    classes = torch.arange(4000) % 10
    other_class = {
        name: float((prior.sampler(digits)(0, 4000, rng_with()).argmax(1) != classes).float().mean())
        for name, prior in (("dirichlet", Dirichlet()), ("normal", Normal(layer="softmax")), ("one hot", OneHot()))
    }
    assert other_class["dirichlet"] > 0.1
    assert other_class["normal"] == other_class["one hot"] == 0.0


def test_one_hot_targets_take_the_classes_in_turn(digits: Teacher) -> None:
    y = OneHot().sampler(digits)(8, 4, rng_with())
    assert y.tolist() == torch.eye(10)[[8, 9, 0, 1]].tolist()


def test_a_teacher_without_a_penultimate_layer_is_refused(save_model: SaveModel) -> None:
    from onnx import helper

    teacher = load_teacher(
        save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 6], {"w": torch.randn(4, 6)})
    )
    with pytest.raises(UnsupportedTeacherError, match=r"before the final one.*mvn-softmax"):
        Normal().sampler(teacher)


def test_a_teacher_without_a_final_layer_is_refused(save_model: SaveModel) -> None:
    from onnx import helper

    teacher = load_teacher(save_model([helper.make_node("Relu", ["x"], ["y"])], ["N", 5], ["N", 5]))
    for prior in (Normal(layer="softmax"), Dirichlet()):
        with pytest.raises(UnsupportedTeacherError, match=r"no final fully connected layer.*zskd-uniform"):
            prior.sampler(teacher)
