"""The adapter for JAX, adapters/jax.py."""

from __future__ import annotations

import numpy as np
import pytest

from tests.adapters.conftest import Adapter, check_teacher, metadata, outputs
from tests.adapters.environments import MODELS

pytestmark = pytest.mark.adapters

NET = f"{MODELS / 'jax_net.py'}"
SHAPE = ("--input-shape", "8,8,1", "--input-range", "0,16")


@pytest.mark.parametrize(
    ("weights", "factory"),
    [
        ("linen.safetensors", "make"),
        ("linen.npz", "make"),
        ("linen.msgpack", "make"),
        ("nnx.safetensors", "make_nnx"),
        ("linen.safetensors", "make_function"),
    ],
)
def test_weights(adapter: Adapter, weights: str, factory: str) -> None:
    adapter.write(weights, "--module", f"{NET}:{factory}", *SHAPE)
    assert metadata(adapter.output).items() >= {"zskd.input_range": "0,16", "zskd.layout": "NHWC"}.items()
    facts = adapter.facts("held_out")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-3)
    domain = check_teacher(adapter.output, facts, 10).domain
    assert (domain.layout, domain.shape, domain.high) == ("NHWC", (1, 8, 8), (16.0,))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nnx.safetensors", "--module", f"{NET}:make"), "does not run"),
        (("linen.safetensors", "--module", f"{NET}:make_nnx"), "convolutions.0.bias"),
        (("linen.safetensors", "--module", f"{NET}:nothing"), "nothing"),
    ],
)
def test_error_names_the_option(adapter: Adapter, arguments: tuple[str, ...], text: str) -> None:
    assert text in adapter.refuse(2, *arguments, *SHAPE)
