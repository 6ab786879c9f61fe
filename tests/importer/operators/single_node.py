"""Run a single ONNX node in onnxruntime and in the importer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, fx

from zskd_onnx.importer.passes import fold_constants
from zskd_onnx.importer.translate import import_graph
from zskd_onnx.system.onnx_runtime import EXACT_INTEGERS

Array = np.ndarray[Any, Any]


def build(
    op_type: str,
    opset: int,
    inputs: Sequence[Array | None],
    frozen: Sequence[int],
    outputs: int,
    domain: str,
    attributes: dict[str, Any],
) -> onnx.ModelProto:
    """A model of one node; the inputs at the positions ``frozen`` are initialisers."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, name="node", domain=domain, **attributes)
    free, constants = [], []
    for i, (name, x) in enumerate(zip(names, inputs, strict=True)):
        if x is None:
            continue
        if i in frozen:
            constants.append(numpy_helper.from_array(x, name))
        else:
            free.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape))
    ends = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph([node], "single", free, ends, constants)
    imports = [helper.make_opsetid("", opset)] if not domain else []
    if domain:
        imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def imported(model: onnx.ModelProto) -> fx.GraphModule:
    """The imported module of a model that need not be a classifier."""
    loaded = ir.from_proto(model)
    fold_constants(loaded)
    return import_graph(loaded)


def run(
    op_type: str,
    opset: int,
    *inputs: Array | None,
    frozen: Sequence[int] = (),
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> list[Tensor]:
    """The importer's outputs for one node."""
    model = build(op_type, opset, inputs, frozen, outputs, domain, attributes)
    free = [torch.from_numpy(x) for i, x in enumerate(inputs) if x is not None and i not in frozen]
    return list(imported(model)(*free))


def assert_as_onnxruntime(
    op_type: str,
    opset: int,
    *inputs: Array | None,
    frozen: Sequence[int] = (),
    outputs: int = 1,
    domain: str = "",
    tolerance: float = 1e-5,
    steps: int | None = None,
    **attributes: Any,
) -> None:
    """Compare every output of one node with onnxruntime's.

    Args:
        op_type: the operator.
        opset: opset version of its domain.
        inputs: its inputs; None for an optional one.
        frozen: positions of the inputs that are initialisers.
        outputs: number of outputs.
        domain: the operator's domain.
        tolerance: relative and absolute tolerance.
        steps: absolute tolerance in quantisation steps, instead of ``tolerance``.
        attributes: the node's attributes.
    """
    model = build(op_type, opset, inputs, frozen, outputs, domain, attributes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without this option, sums of 8-bit products saturate on x86 without VNNI. It works for frozen weights.
    options.add_session_config_entry(EXACT_INTEGERS, "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in frozen}
    expected = session.run(None, feeds)
    results = run(op_type, opset, *inputs, frozen=frozen, outputs=outputs, domain=domain, **attributes)
    assert len(results) == len(expected)
    for a, b in zip(results, expected, strict=True):
        assert tuple(a.shape) == b.shape
        relative, absolute = (tolerance, tolerance) if steps is None else (0, steps)
        np.testing.assert_allclose(a.numpy().astype(np.float64), b.astype(np.float64), rtol=relative, atol=absolute)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(low: int, high: int, *shape: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
