"""The network of train_jax.py, in Flax Linen and in Flax NNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen, nnx


class Net(linen.Module):
    """A convolutional network for 8x8 digits from 0 to 16."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.relu(linen.Conv(16, (3, 3))(x / 16))
        x = linen.relu(linen.Conv(32, (3, 3))(x))
        x = linen.max_pool(x, window_shape=(2, 2), strides=(2, 2)).reshape((x.shape[0], -1))
        x = linen.relu(linen.Dense(64, name="hidden")(x))
        return linen.Dense(10, name="head")(x)


class NnxNet(nnx.Module):
    """The same network, with its convolutions in a list."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convolutions = nnx.List([nnx.Conv(1, 16, (3, 3), rngs=rngs), nnx.Conv(16, 32, (3, 3), rngs=rngs)])
        self.hidden, self.drop = nnx.Linear(512, 64, rngs=rngs), nnx.Dropout(0.25, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x / 16
        for layer in self.convolutions:
            x = nnx.relu(layer(x))
        x = nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2)).reshape((x.shape[0], -1))
        return self.head(self.drop(nnx.relu(self.hidden(x))))


def make() -> linen.Module:
    return Net()


def make_nnx() -> nnx.Module:
    return NnxNet(nnx.Rngs(0))


def make_function() -> Callable[[Any, jax.Array], jax.Array]:
    return lambda weights, x: Net().apply(weights, x)
