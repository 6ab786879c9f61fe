"""Which channels remain."""

from __future__ import annotations

import numpy as np
import torch

from tests.students.thinning.graphs import graph_of, groups_of
from zskd_onnx.students.thinning.select_channels import select_by_error, select_by_norm
from zskd_onnx.students.thinning.weighted_readers import read_weights

TEXT = (
    "h = Gemm <transB = 1> (x, w0, b0) r = Relu (h) u = Gemm <transB = 1> (r, w1, b1) v = MatMul (r, w2) y = Add (u, v)"
)


def network(copies: int) -> tuple[dict[str, np.ndarray], int]:
    """Weights of an MLP whose hidden units are copies of a few, and the number of different units."""
    rng = np.random.default_rng(0)
    units = rng.normal(size=(4, 5)).astype(np.float32)
    weights = {
        "w0": np.tile(units, (copies, 1)),
        "b0": np.zeros(4 * copies, dtype=np.float32),
        "w1": rng.normal(size=(4, 4 * copies)).astype(np.float32),
        "b1": np.zeros(4, dtype=np.float32),
        "w2": rng.normal(size=(4 * copies, 4)).astype(np.float32),
    }
    return weights, 4


def test_copies_are_removed_and_the_readers_of_the_others_make_up_for_them() -> None:
    weights, different = network(copies=3)
    model = graph_of(TEXT, weights, sample=(5,))
    groups = groups_of(model)
    (group,) = groups.groups
    x = np.random.default_rng(1).normal(size=(400, 5)).astype(np.float32)

    shares: list[float] = []
    selection = select_by_error(
        groups,
        read_weights(model),
        {group.name: different},
        [{"x": x[:300]}, {"x": x[300:]}],
        len(x),
        torch.Generator().manual_seed(0),
        shares.append,
    )
    assert 0 < shares[0] < shares[1] < shares[2] == 1

    remaining = [place for place, channel in enumerate(group.channels) if channel not in selection.removed]
    assert sorted(place % different for place in remaining) == list(range(different))
    hidden = np.maximum(x @ weights["w0"].T, 0)
    expected = hidden @ weights["w1"].T + hidden @ weights["w2"]
    refitted = selection.weights
    thinned = (
        hidden[:, remaining] @ refitted["w1"][:, remaining].T
        + refitted["b1"]
        + hidden[:, remaining] @ refitted["w2"][remaining]
    )
    assert np.abs(thinned - expected).max() < 0.01 * np.abs(expected).max()


def test_without_samples_the_channels_with_the_largest_weights_remain() -> None:
    weights, _ = network(copies=2)
    weights["w1"][:, [1, 6]] = 100
    model = graph_of(TEXT, weights, sample=(5,))
    groups = groups_of(model)
    (group,) = groups.groups

    selection = select_by_norm(groups, read_weights(model), {group.name: 2})

    assert [place for place, channel in enumerate(group.channels) if channel not in selection.removed] == [1, 6]
    assert selection.weights == {}
