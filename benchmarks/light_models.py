"""Load ONNX's nine ``light_*`` models: whole classifiers of the model zoo without their weights.

    python benchmarks/light_models.py

The onnx package contains them, at opset 9 and with a batch size of 1. Their weights are
initialisers that are also inputs. Most of them are made in the graph, by a ConstantOfShape that
gives 0.02 everywhere.

With equal weights, every class has the same score for any input. A comparison then shows that the
file loads and runs, but not that its layers are right. So each model is also loaded with random
weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from zskd_onnx import ZskdError, load_teacher

FOLDER = Path(__file__).parent / "out" / "light"
"""Default folder for models with random weights."""

SOURCE = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
"""Folder of the models in the onnx package."""


def light_models() -> list[Path]:
    """The paths of the nine models, sorted."""
    return sorted(SOURCE.glob("light_*.onnx"))


def with_random_weights(path: Path, folder: Path) -> Path:
    """Write a copy of a model with random weights in place of each ConstantOfShape, and return its path.

    A final softmax becomes an Identity, because a saturated softmax would hide differences.
    """
    copy = folder / path.name
    if copy.exists():
        return copy
    model = onnx.load(path)
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rng = np.random.default_rng(0)
    constants = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in constants:
        (name,) = node.output
        weights = _random(tuple(shapes[node.input[0]]), _role(graph, name), rng)
        graph.initializer.append(numpy_helper.from_array(weights, name))
        graph.node.remove(node)
    for node in graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Identity"
            del node.attribute[:]
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, copy.with_suffix(".part"))
    copy.with_suffix(".part").replace(copy)
    return copy


def _role(graph: onnx.GraphProto, name: str) -> tuple[str, int]:
    """The operator that reads a weight, and its position; Unsqueeze and Reshape are followed."""
    node = next(node for node in graph.node if name in node.input)
    if node.op_type in ("Unsqueeze", "Reshape"):
        return _role(graph, node.output[0])
    return node.op_type, list(node.input).index(name)


def _random(shape: tuple[int, ...], role: tuple[str, int], rng: np.random.Generator) -> np.ndarray:
    """Values that keep activations at the scale of the input, so that the classes differ."""
    match role:
        case ("Conv" | "Gemm" | "MatMul", 1):
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        case ("BatchNormalization", 1 | 4) | ("Mul", _):
            values = rng.uniform(0.7, 1.3, shape)
        case _:
            values = rng.normal(0, 0.1, shape)
    return values.astype(np.float32)


def check(path: Path) -> Iterator[str]:
    """The cells of one file."""
    begin = time.perf_counter()
    try:
        teacher = load_teacher(path)
    except ZskdError as error:
        yield from (type(error).__name__, "", "", str(error)[-120:])
        return
    yield str(teacher.classes)
    yield f"{teacher.parity:.1e}"
    yield "none" if teacher.head is None else teacher.head.node
    yield f"{time.perf_counter() - begin:.1f} s"


def main() -> None:
    print("| model | weights | classes | parity | head | import |\n|---|---|---|---|---|---|")
    for path in light_models():
        print(f"| {path.stem} | as they are | {' | '.join(check(path))} |", flush=True)
        print(f"| {path.stem} | random | {' | '.join(check(with_random_weights(path, FOLDER)))} |", flush=True)


if __name__ == "__main__":
    main()
