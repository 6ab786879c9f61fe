"""Figures of predictions, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from zskd_onnx.teacher.probes.answers import summarise


def one_hot(classes: list[int], count: int, scale: float) -> torch.Tensor:
    return scale * torch.nn.functional.one_hot(torch.tensor(classes), count).float()


def test_even_predictions_have_the_largest_entropy() -> None:
    answers = summarise(one_hot([0, 1, 2, 3] * 8, 4, 20.0))
    assert (answers.named, answers.samples, answers.classes) == (4, 32, 4)
    assert answers.entropy == pytest.approx(1)
    assert answers.confident == 1
    assert answers.collapse() is None


def test_entropy_is_that_of_the_histogram() -> None:
    answers = summarise(one_hot([0, 0, 0, 1], 3, 5.0))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    assert answers.entropy == pytest.approx(expected)
    assert answers.commonest == 0


def test_spread_is_the_deviation_of_centred_logits() -> None:
    values = torch.randn((1000, 5), generator=torch.Generator().manual_seed(0)) * 4
    centred = values - values.mean(1, keepdim=True)
    assert summarise(values).spread == pytest.approx(float(centred.std(0, correction=0).mean()), rel=1e-5)
    assert summarise(values + 100).spread == pytest.approx(summarise(values).spread, rel=1e-3)


@pytest.mark.parametrize("predicted", [[3] * 200, [1, 3] * 100, [1, 3, 5, 7] * 50])
def test_few_classes_are_a_collapse(predicted: list[int]) -> None:
    reason = summarise(one_hot(predicted, 10, 20.0)).collapse("synthesised samples")
    assert reason is not None
    assert f"only {len(set(predicted))} of 10 classes on 200 synthesised samples" in reason


def test_half_of_the_classes_are_no_collapse() -> None:
    assert summarise(one_hot([0, 1, 2, 3, 4] * 40, 10, 20.0)).collapse() is None


def test_one_of_two_classes_is_a_collapse() -> None:
    assert summarise(one_hot([1] * 100, 2, 20.0)).collapse() is not None
    assert summarise(one_hot([0] + [1] * 99, 2, 20.0)).collapse() is None


def test_a_thousand_classes_need_not_all_appear_in_few_samples() -> None:
    assert summarise(one_hot(list(range(0, 1000, 10)), 1000, 20.0)).collapse() is None
    assert summarise(one_hot([0, 1, 2, 3] * 25, 1000, 20.0)).collapse() is not None


def test_flat_predictions_are_a_collapse() -> None:
    reason = summarise(one_hot(list(range(10)) * 10, 10, 0.1)).collapse()
    assert reason is not None
    assert "next to chance (10 %)" in reason


@pytest.mark.parametrize(("scale", "word"), [(0.5, "small"), (400.0, "large")])
def test_an_unusual_spread_is_doubted(scale: float, word: str) -> None:
    doubt = summarise(one_hot(list(range(10)) * 10, 10, scale)).doubt
    assert doubt is not None
    assert f"probably too {word}" in doubt
    assert summarise(one_hot(list(range(10)) * 10, 10, 12.0)).doubt is None
