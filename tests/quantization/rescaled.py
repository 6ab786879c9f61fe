"""The bundled teacher with channels of very different sizes, which computes the same and is hard to quantise."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

LAYERS = ("net.0", "net.2", "net.6", "net.8")


def rescale(digits_file: Path, path: Path, spread: float, *, clip: bool = False) -> Path:
    """Write the teacher with each channel between two layers multiplied by 2 ** u, u uniform in [-spread, spread].

    The next layer's weights are divided by the same factors.

    Args:
        clip: whether a Clip from 0 to 1e9 replaces each Relu. It computes the same, and no factor can be moved through it.
    """
    model = onnx.load(digits_file)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    rng = np.random.default_rng(0)
    for first, second in itertools.pairwise(LAYERS):
        names = f"{first}.weight", f"{first}.bias", f"{second}.weight"
        weight, bias, reading = (numpy_helper.to_array(stored[name]) for name in names)
        factors = np.exp2(rng.uniform(-spread, spread, len(weight)))
        wide = np.repeat(factors, reading.shape[1] // len(factors))
        arrays = (
            weight * factors.reshape(-1, *[1] * (weight.ndim - 1)),
            bias * factors,
            reading / wide.reshape(1, -1, *[1] * (reading.ndim - 2)),
        )
        for name, array in zip(names, arrays, strict=True):
            stored[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    if clip:
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type = "Clip"
                node.input.extend(["lowest", "highest"])
        for name, value in {"lowest": 0.0, "highest": 1e9}.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
