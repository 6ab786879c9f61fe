"""Small classifiers in the forms in which teachers come, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper

ML = "ai.onnx.ml"
RESIDUAL = """
    h = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r = Relu (h)
    g = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)
    sum = Add (g, r)
    s = Relu (sum)
    pooled = GlobalAveragePool (s)
    flat = Flatten (pooled)
"""
"""From images x (N, 3, 8, 8) to features (N, 8)."""

WEIGHTS = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w": (8, 4), "b": (4,)}
HEAD = "y = Gemm (flat, w, b)"
NORMALISATION = {"scale": (8,), "shift": (8,), "mean": (8,), "var": (8,)}


def save(
    path: Path,
    text: str,
    inputs: str,
    outputs: str = "float[N, 4] y",
    weights: Mapping[str, tuple[int, ...] | np.ndarray] = WEIGHTS,
    *,
    dtype: type = np.float32,
    input_range: str = "0,1",
    author: str = "somebody",
) -> Path:
    """Write a graph in ONNX's text form; weights are arrays, or shapes of random ones."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17, "{ML}": 1]> agraph ({inputs}) => ({outputs}) {{ {text} }}'
    )
    rng = np.random.default_rng(0)
    for name, weight in weights.items():
        random = rng.normal(size=weight, scale=0.3) if isinstance(weight, tuple) else weight
        array = random.astype(dtype) if random.dtype.kind == "f" else random
        model.graph.initializer.append(numpy_helper.from_array(np.abs(array) if name == "var" else array, name))
    for node in model.graph.node:
        node.name = f"node {node.output[0]}"
    helper.set_model_props(model, {"author": author, "zskd.input_range": input_range})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def softmax(path: Path) -> Path:
    """Batch normalisation stands behind the first convolution, and a softmax at the end."""
    text = RESIDUAL.replace("r = Relu (h)", "n = BatchNormalization (h, scale, shift, mean, var) r = Relu (n)")
    text += "z = Gemm (flat, w, b) y = Softmax (z)"
    return save(path, text, "float[N, 3, 8, 8] x", weights={**WEIGHTS, **NORMALISATION})


def label_first(path: Path) -> Path:
    """As scikit-learn's converter writes an MLP: the label, and a ZipMap of the probabilities."""
    text = """
        cast = Cast <to = 1> (x)
        product = MatMul (cast, w1)
        h = Add (product, b1)
        r = Relu (h)
        product2 = MatMul (r, w2)
        z = Add (product2, b2)
        p = Softmax <axis = 1> (z)
        winner = ArgMax <axis = 1, keepdims = 0> (p)
        row = ai.onnx.ml.ArrayFeatureExtractor (names, winner)
        output_label = Reshape (row, one)
        output_probability = ai.onnx.ml.ZipMap <classlabels_int64s = [3, 5, 7]> (p)
    """
    weights = {"w1": (6, 20), "b1": (20,), "w2": (20, 3), "b2": (3,)}
    constants = {"names": np.array([3, 5, 7]), "one": np.array([-1])}
    outputs = "int64[N] output_label, seq(map(int64, float)) output_probability"
    return save(path, text, "float[N, 6] x", outputs, {**weights, **constants})


def channels_last(path: Path, dtype: str = "uint8") -> Path:
    """Images (N, 8, 8, 3) with values from 0 to 255."""
    text = "cast = Cast <to = 1> (image) scaled = Mul (cast, factor) x = Transpose <perm = [0, 3, 1, 2]> (scaled)"
    weights = {**WEIGHTS, "factor": np.array(1 / 255, dtype=np.float32)}
    return save(path, text + RESIDUAL + HEAD, f"{dtype}[N, 8, 8, 3] image", weights=weights, input_range="0,255")


def external_data(path: Path) -> Path:
    """The same in float, with its weights in another file."""
    model = onnx.load(channels_last(path, "float"))
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def half_precision(path: Path) -> Path:
    return save(path, RESIDUAL + HEAD, "float16[N, 3, 8, 8] x", "float16[N, 4] y", dtype=np.float16)


def fixed_batch(path: Path) -> Path:
    """The shape that the features are brought into also fixes the batch size."""
    text = RESIDUAL.replace("flat = Flatten (pooled)", "flat = Reshape (pooled, sizes)") + HEAD
    weights = {**WEIGHTS, "sizes": np.array([1, 8])}
    return save(path, text, "float[1, 3, 8, 8] x", "float[1, 4] y", weights)


def two_inputs(path: Path) -> Path:
    """The second input is multiplied with the features, one number for each sample."""
    text = RESIDUAL.replace("flat =", "unscaled =") + "flat = Mul (unscaled, gain)" + HEAD
    return save(path, text, "float[N, 3, 8, 8] x, float[N, 1] gain")


FORMS: tuple[Callable[[Path], Path], ...] = (
    softmax,
    label_first,
    channels_last,
    external_data,
    half_precision,
    fixed_batch,
    two_inputs,
)
"""Each writes a teacher of its form to a path, and returns the path."""

FIXED = {"two_inputs": {"gain": 0.5}}
"""Form -> constants of its other inputs."""


def feeds(path: Path, form: str) -> dict[str, np.ndarray]:
    """Two samples as a caller gives them, or as many as the file's batch size; all inputs of the file."""
    values = {}
    for value in onnx.load(path, load_external_data=False).graph.input:
        sizes = [d.dim_value or 2 for d in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        top = 255 if form in ("channels_last", "external_data") else 1
        values[value.name] = (np.random.default_rng(1).random(sizes) * top).astype(dtype)
    return values
