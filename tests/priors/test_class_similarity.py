"""Class similarity, compared with numpy."""

from __future__ import annotations

import numpy as np
import torch

from zskd_onnx.priors.class_similarity import class_similarity, concentration


def test_cosines_equal_those_of_numpy() -> None:
    w = np.random.default_rng(0).normal(size=(7, 12))
    lengths = np.sqrt((w**2).sum(1))
    expected = (w @ w.T) / np.outer(lengths, lengths)
    np.testing.assert_allclose(class_similarity(torch.from_numpy(w).float()).numpy(), expected, atol=1e-6)


def test_known_angles() -> None:
    w = torch.tensor([[3.0, 0.0], [0.0, 0.1], [5.0, 5.0], [-2.0, 0.0]])
    half = 2**-0.5
    expected = [[1, 0, half, -1], [0, 1, half, 0], [half, half, 1, -half], [-1, 0, -half, 1]]
    torch.testing.assert_close(class_similarity(w), torch.tensor(expected, dtype=torch.float64))


def test_scale_does_not_matter_and_a_row_of_zeros_is_finite() -> None:
    w = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(class_similarity(1e-3 * w), class_similarity(w), rtol=0, atol=1e-6)
    w[2] = 0
    assert torch.isfinite(class_similarity(w)).all()


def test_rows_run_from_the_floor_to_one() -> None:
    """Each row is normalised on its own."""
    similarity = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.8], [-1.0, 0.8, 1.0]])
    expected = torch.tensor([[1, 0.5, 0], [0, 1, 0.8], [0, 0.9, 1]]) + 1e-4
    torch.testing.assert_close(concentration(similarity, 1e-4), expected)


def test_equal_classes_give_positive_parameters() -> None:
    rows = concentration(torch.ones(3, 3), 1e-4)
    assert torch.isfinite(rows).all()
    assert (rows > 0).all()
