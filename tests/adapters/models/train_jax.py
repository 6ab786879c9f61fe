"""Train the network of jax_net.py, and save its weights for Linen and for NNX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import FOLDER, save, split
from flax import serialization, traverse_util
from jax_net import Net
from safetensors.numpy import save_file

x, y, held_out, classes = split()
x, held_out = x[..., None], held_out[..., None]
net = Net()
weights = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
optimiser = optax.adam(2e-3)
state = optimiser.init(weights)


@jax.jit
def step(weights, state, x, y):
    def loss(weights):
        return optax.softmax_cross_entropy_with_integer_labels(net.apply(weights, x), y).mean()

    updates, state = optimiser.update(jax.grad(loss)(weights), state)
    return optax.apply_updates(weights, updates), state


rng = np.random.default_rng(0)
for _ in range(15):
    order = rng.permutation(len(x))
    for start in range(0, len(x) - 63, 64):
        batch = order[start : start + 64]
        weights, state = step(weights, state, x[batch], y[batch])

scores = np.asarray(net.apply(weights, held_out))
print(f"flax {(scores.argmax(1) == classes).mean():.4f}")
flat = {key: np.asarray(value) for key, value in traverse_util.flatten_dict(weights, sep=".").items()}
save_file(flat, FOLDER / "linen.safetensors")
np.savez(FOLDER / "linen.npz", **{key.removeprefix("params.").replace(".", "/"): v for key, v in flat.items()})
(FOLDER / "linen.msgpack").write_bytes(serialization.to_bytes(weights))
NNX = {"Conv_0": "convolutions.0", "Conv_1": "convolutions.1", "hidden": "hidden", "head": "head"}
save_file({f"{NNX[key.split('.')[1]]}.{key.split('.')[2]}": v for key, v in flat.items()}, FOLDER / "nnx.safetensors")
head = weights["params"]["head"]
save("held_out", held_out, classes, scores=scores, weight=np.asarray(head["kernel"]).T, bias=np.asarray(head["bias"]))
