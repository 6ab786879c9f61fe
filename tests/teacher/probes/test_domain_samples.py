"""Procedural samples for any kind of input."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.domain_samples import domain_samples


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 12), (5,), (4, 10), (2, 4, 6, 8)])
def test_samples_vary_within_the_unit_space(shape: tuple[int, ...]) -> None:
    samples = domain_samples(50, shape, rng_for(0, "test"))
    assert samples.shape == (50, *shape)
    assert 0 <= float(samples.min()) < 0.3 < 0.7 < float(samples.max()) <= 1
    assert len({tuple(sample.flatten().tolist()) for sample in samples}) == 50
    assert torch.equal(samples, domain_samples(50, shape, rng_for(0, "test")))
