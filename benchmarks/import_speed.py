"""Measure the time of an import, and the run time of the imported graph.

    OMP_NUM_THREADS=1 python benchmarks/import_speed.py import     # graphs of 1,000 and 4,000 nodes
    OMP_NUM_THREADS=1 python benchmarks/import_speed.py run        # beside the native modules

``import`` writes graphs with the shape arithmetic of exporters, and measures wall time and
processor time of ``load_teacher``.

``run`` exports ResNet-18 and ViT-tiny (``native.py``), imports them, and measures the forward pass
and the backward pass to the input, beside the native module. Calls of both alternate, so that
other load on the machine affects both. The ratio is the median over the rounds. ``run`` also
counts the graph breaks of ``torch.compile``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from native import resnet18, vit_tiny
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from zskd_onnx import load_teacher

node = helper.make_node


class Graph:
    """Builds an ONNX graph; nodes and weights are numbered."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.rng = np.random.default_rng(0)

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        scale = np.sqrt(2 / max(np.prod(shape[1:]), 1))
        return self.weight((scale * self.rng.standard_normal(shape)).astype(np.float32))

    def ints(self, *numbers: int) -> str:
        return self.weight(np.array(numbers, dtype=np.int64))

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(node(op_type, list(inputs), [name], **attributes))
        return name

    def sizes(self, x: str, *axes: int) -> list[str]:
        """Sizes of x as the legacy exporter writes them: a Shape and a Gather for each."""
        picked = [self.add("Gather", self.add("Shape", x), self.weight(np.array(axis)), axis=0) for axis in axes]
        return [self.add("Unsqueeze", size, self.ints(0)) for size in picked]

    def save(self, path: Path, shape: list[int | str], output: str) -> None:
        self.nodes[-1].output[0] = output
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 10])],
            self.weights,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def convolutional(count: int, path: Path) -> None:
    """Write residual blocks of convolution, batch normalisation, reshape and sum, with ``count`` nodes.

    The reshape computes its sizes in the graph.
    """
    g = Graph()
    x = g.add("Relu", "x")
    while len(g.nodes) < count - 3:
        ones = [g.weight(np.ones(8, np.float32)) for _ in range(2)]
        statistics_ = [g.weight(np.zeros(8, np.float32)), g.weight(np.ones(8, np.float32))]
        y = g.add("Conv", x, g.normal(8, 8, 3, 3), pads=[1, 1, 1, 1])
        y = g.add("BatchNormalization", y, *ones[:1], g.weight(np.zeros(8, np.float32)), *statistics_)
        y = g.add("Relu", y)
        shape = g.add("Concat", *g.sizes(y, 0, 1), g.ints(-1), axis=0)
        back = g.add("Concat", *g.sizes(y, 0, 1, 2, 3), axis=0)
        y = g.add("Reshape", g.add("Reshape", y, shape), back)
        x = g.add("Mul", g.add("Add", x, y), g.weight(np.array(0.5, np.float32)))
    g.add("Gemm", g.add("Flatten", g.add("GlobalAveragePool", x)), g.normal(10, 8), transB=1)
    g.save(path, ["N", 8, 16, 16], "y")


def transformer(count: int, path: Path) -> None:
    """Write attention blocks with ``count`` nodes; they split heads by sizes computed in the graph."""
    g = Graph()
    x = g.add("Transpose", g.add("Reshape", "x", g.ints(0, 32, 16)), perm=[0, 2, 1])
    while len(g.nodes) < count - 3:
        h = g.add("LayerNormalization", x, g.weight(np.ones(32, np.float32)), g.weight(np.zeros(32, np.float32)))
        parts = []
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            y = g.add("Add", g.add("MatMul", h, g.normal(32, 32)), g.weight(np.zeros(32, np.float32)))
            shape = g.add("Concat", *g.sizes(y, 0, 1), g.ints(4), g.ints(8), axis=0)
            parts.append(g.add("Transpose", g.add("Reshape", y, shape), perm=perm))
        scores = g.add("Mul", g.add("MatMul", *parts[:2]), g.weight(np.array(8**-0.5, np.float32)))
        y = g.add("MatMul", g.add("Softmax", scores, axis=-1), parts[2])
        y = g.add("Transpose", y, perm=[0, 2, 1, 3])
        shape = g.add("Concat", *g.sizes(y, 0, 1), g.ints(32), axis=0)
        x = g.add("Add", x, g.add("MatMul", g.add("Reshape", y, shape), g.normal(32, 32)))
        half = g.add("Div", x, g.weight(np.array(2**0.5, np.float32)))
        gate = g.add("Add", g.add("Erf", half), g.weight(np.array(1, np.float32)))
        gelu = g.add("Mul", g.add("Mul", x, gate), g.weight(np.array(0.5, np.float32)))
        x = g.add("Add", x, g.add("MatMul", gelu, g.normal(32, 32)))
    g.add("Gemm", g.add("ReduceMean", x, axes=[1], keepdims=0), g.normal(10, 32), transB=1)
    g.save(path, ["N", 8, 8, 8], "y")


def measure_import(folder: Path) -> None:
    load_teacher(_small(folder))  # warm-up: the first import loads libraries
    print(f"{'graph':<16}{'nodes':>7}{'wall':>9}{'processor':>11}")
    for write in (convolutional, transformer):
        for count in (1000, 4000):
            path = folder / f"{write.__name__}-{count}.onnx"
            write(count, path)
            nodes = len(onnx.load(path).graph.node)
            wall, processor = time.perf_counter(), time.process_time()
            load_teacher(path)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            print(f"{write.__name__:<16}{nodes:>7}{wall:>8.2f}s{processor:>10.2f}s")


def _small(folder: Path) -> Path:
    path = folder / "small.onnx"
    convolutional(20, path)
    return path


Call = Callable[[Tensor], Tensor]


def step(call: Call, x: Tensor) -> float:
    """Seconds of a forward pass and a backward pass to the input."""
    x = x.detach().requires_grad_()
    begin = time.perf_counter()
    call(x).sum().backward()
    return time.perf_counter() - begin


def ratio(imported: Call, native: Call, x: Tensor, rounds: int) -> tuple[float, float, float]:
    """Compare the run time of two functions.

    Returns:
        The median seconds of the imported and of the native function, and the median over the rounds
        of the first divided by the second.
    """
    for call in (imported, native):
        step(call, x)
        step(call, x)
    pairs = []
    for i in range(rounds):  # the order alternates, because the second call has warmer caches
        first, second = (imported, native) if i % 2 else (native, imported)
        a, b = step(first, x), step(second, x)
        pairs.append((a, b) if i % 2 else (b, a))
    return (
        statistics.median(p[0] for p in pairs),
        statistics.median(p[1] for p in pairs),
        statistics.median(p[0] / p[1] for p in pairs),
    )


def measure_run(folder: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    print(f"{'model':<10}{'exporter':<9}{'strides':<14}{'imported':>9}{'native':>9}{'ratio':>7}  compile")
    for name, build in (("vit_tiny", vit_tiny), ("resnet18", resnet18)):
        torch.manual_seed(0)
        native = build().eval().requires_grad_(False)
        x = torch.rand(8, 3, 224, 224)
        for exporter in ("dynamo", "legacy"):
            path = folder / f"{name}-{exporter}.onnx"
            export(native, x[:2], path, exporter)
            teacher = load_teacher(path)
            compiles = compiled(teacher.logits, x[:2])
            for strides in ("contiguous", "channels_last") if name == "resnet18" else ("contiguous",):
                kind = torch.contiguous_format if strides == "contiguous" else torch.channels_last
                native = native.to(memory_format=kind)
                a, b, r = ratio(teacher.logits, native, x.contiguous(memory_format=kind), rounds)
                print(f"{name:<10}{exporter:<9}{strides:<14}{a:>8.3f}s{b:>8.3f}s{r:>7.3f}  {compiles}", flush=True)
            native = native.to(memory_format=torch.contiguous_format)


def export(module: nn.Module, x: Tensor, path: Path, exporter: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            free = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=free, verbose=False)
            assert program is not None
            program.save(path)
        else:
            axes = {"input": {0: "batch"}}
            torch.onnx.export(
                module, (x,), path, dynamo=False, opset_version=17, input_names=["input"], dynamic_axes=axes
            )


def compiled(call: Call, x: Tensor) -> str:
    """The number of graph breaks of torch.compile, and the error of the compiled gradient."""
    torch._dynamo.reset()
    breaks = torch._dynamo.explain(call)(x).graph_break_count
    torch._dynamo.reset()
    whole = torch.compile(call, fullgraph=True, backend="aot_eager")
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(whole(x).square().sum(), x)
    (expected,) = torch.autograd.grad(call(x).square().sum(), x)
    return f"{breaks} breaks, gradient within {float((gradient - expected).abs().max() / expected.abs().max()):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["import", "run"], help="what to measure")
    parser.add_argument("--rounds", type=int, default=15, help="repetitions of 'run'")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "import":
            measure_import(Path(folder))
        else:
            measure_run(Path(folder), options.rounds)


if __name__ == "__main__":
    main()
