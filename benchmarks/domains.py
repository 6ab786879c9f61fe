"""The input range that is inferred for ResNet-20 in five writings, and for other nets in nine true ranges.

    python benchmarks/domains.py resnet20_cifar10_folded.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    python benchmarks/domains.py lenet5.onnx

Each writing is the net behind two nodes that map another range to its own. A node that computes max(x, x) hides them from the
reader of scaling, so that the file says nothing and its predictions alone can tell. Each line gives the true range, the inferred
range, and whether scale and offset are right.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.candidate_domains import candidate_domains


def written_for(
    path: Path, own: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> onnx.ModelProto:
    """The net for inputs in the range ``other`` instead of its ``own``, without nodes that read as scaling.

    Args:
        own, other: lowest and highest value, each (C, 1, 1).
    """
    model = onnx.load(path)
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["zskd_inner" if value == name else value for value in node.input]
    scale = (own[1] - own[0]) / (other[1] - other[0])
    shift = own[0] - other[0] * scale
    # Max(x, x) computes x, and the reader of scaling does not follow it.
    nodes = [
        helper.make_node("Max", [name, name], ["zskd_same"]),
        helper.make_node("Mul", ["zskd_same", "zskd_scale"], ["zskd_scaled"]),
        helper.make_node("Add", ["zskd_scaled", "zskd_shift"], ["zskd_inner"]),
    ]
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), key)
        for key, array in (("zskd_scale", scale), ("zskd_shift", shift))
    )
    inner = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *inner])
    del model.metadata_props[:]
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path, help="NCHW, three or one channel, without scaling nodes")
    parser.add_argument("--mean", help="of the teacher's own range, with commas (default: 0..1)")
    parser.add_argument("--std")
    options = parser.parse_args()
    numbers = {
        key: [float(part) for part in text.split(",")]
        for key in ("mean", "std")
        if (text := getattr(options, key)) is not None
    }
    teacher = load_teacher(options.teacher, input_range=(0, 1), mean=numbers.get("mean"), std=numbers.get("std"))
    own = bounds(teacher.domain.low, teacher.domain.high)
    right = 0
    candidates = candidate_domains(teacher.domain.shape, teacher.classes)
    for true in candidates:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "teacher.onnx"
            onnx.save(written_for(options.teacher, own, bounds(true.low, true.high)), path)
            started = time.perf_counter()
            domain = load_teacher(path).domain
            seconds = time.perf_counter() - started
        chosen = next((c for c in candidates if (c.low, c.high) == (domain.low, domain.high)), None)
        scale = chosen is not None and chosen.scale == true.scale and not domain.assumed
        offset = chosen is not None and chosen.is_near(true)
        right += scale
        print(
            f"{true.name:30} -> {chosen.name if chosen else domain.range:30} {domain.certainty:15} scale "
            f"{'right' if scale else 'WRONG'}, offset {'right' if offset else 'wrong'}, {seconds:.1f} s",
            flush=True,
        )
    print(f"scale right in {right} of {len(candidates)}")


def bounds(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Both ends as arrays (C, 1, 1)."""
    first, last = (np.array(end, dtype=np.float64).reshape(-1, 1, 1) for end in (low, high))
    return first, last


if __name__ == "__main__":
    main()
