"""ONNX's nine ``light_*`` models: whole classifiers of the model zoo without their weights.

    python benchmarks/light_models.py

They come with the onnx package, at opset 9, with a batch size of 1, their weights as initialisers
that are inputs too, and most of those made in the graph by a ConstantOfShape that gives 0.02
everywhere. A graph of equal weights gives every class the same score, whatever the
input: agreement on it says that the file loads and runs, and little of whether it is read rightly.
So each is also checked with random weights in place of the equal ones.
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
SOURCE = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def light_models() -> list[Path]:
    return sorted(SOURCE.glob("light_*.onnx"))


def with_random_weights(path: Path, folder: Path) -> Path:
    """The same graph with an initialiser of random values for each ConstantOfShape.

    A softmax at its end becomes an Identity: saturated, it would hide what differs before it.
    """
    made = folder / path.name
    if made.exists():
        return made
    model = onnx.load(path)
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    generator = np.random.default_rng(0)
    constants = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in constants:
        (name,) = node.output
        weights = _random(tuple(shapes[node.input[0]]), _role(graph, name), generator)
        graph.initializer.append(numpy_helper.from_array(weights, name))
        graph.node.remove(node)
    for node in graph.node:
        if node.op_type == "Softmax":
            node.op_type = "Identity"
            del node.attribute[:]
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, made.with_suffix(".part"))
    made.with_suffix(".part").replace(made)
    return made


def _role(graph: onnx.GraphProto, name: str) -> tuple[str, int]:
    """The operator that a weight goes into, and at which input; what gives it axes does not count."""
    node = next(node for node in graph.node if name in node.input)
    if node.op_type in ("Unsqueeze", "Reshape"):
        return _role(graph, node.output[0])
    return node.op_type, list(node.input).index(name)


def _random(shape: tuple[int, ...], role: tuple[str, int], generator: np.random.Generator) -> np.ndarray:
    """Values that keep activations at the size of the input, so that the classes differ."""
    match role:
        case ("Conv" | "Gemm" | "MatMul", 1):
            values = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        case ("BatchNormalization", 1 | 4) | ("Mul", _):
            values = generator.uniform(0.7, 1.3, shape)
        case _:
            values = generator.normal(0, 0.1, shape)
    return values.astype(np.float32)


def check(path: Path) -> Iterator[str]:
    """What ``load_teacher`` makes of a file: the cells of a row."""
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
