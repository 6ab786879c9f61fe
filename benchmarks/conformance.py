"""Run ONNX's own node conformance suite through the importer.

    python benchmarks/conformance.py              the figures, and every case that does not pass
    python benchmarks/conformance.py --operators  the supported operators as a Markdown table

Counted are the cases

* that are not expanded functions,
* whose first node is an operator in ``FAMILIES`` of the default domain, and
* without tensors of strings, of types below eight bits, or of float8.

Each case is run with all inputs as graph inputs, with all but the first as initialisers, and with
those as initialisers that the operator needs as Python numbers. It passes if all outputs agree in
one of these ways. A case that does not pass must raise an error; a wrong value fails the whole
run.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from torch import fx

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.nodes import operator_of, to_torch
from zskd_onnx.importer.operators.registry import registered
from zskd_onnx.importer.passes import fold_constants
from zskd_onnx.importer.translate import import_graph

FAMILIES = {
    "linear": "Conv ConvTranspose Gemm MatMul Einsum",
    "arithmetic": "Add Sub Mul Div Pow Sqrt Exp Log Erf Abs Neg Reciprocal Sign Floor Ceil Round Min Max Mean Sum",
    "logic": "Equal Less LessOrEqual Greater GreaterOrEqual And Or Not Xor Where",
    "activation": (
        "Relu LeakyRelu PRelu Elu Selu Celu Gelu HardSigmoid HardSwish Mish Softplus Softsign Sigmoid Tanh Swish Clip "
        "ThresholdedRelu Softmax LogSoftmax Hardmax"
    ),
    "normalization": (
        "BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization "
        "LpNormalization MeanVarianceNormalization LRN"
    ),
    "pooling": "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool",
    "reduction": (
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
        "ReduceSumSquare"
    ),
    "shape and index": (
        "Concat Split Slice Gather GatherElements GatherND Transpose Reshape Flatten Squeeze Unsqueeze Pad Resize "
        "Upsample Expand Tile DepthToSpace SpaceToDepth Trilu CumSum TopK ArgMax"
    ),
    "constant": "Cast CastLike Constant ConstantOfShape Shape Size Range Identity Dropout",
    "sequence model": "Attention RotaryEmbedding LSTM GRU RNN",
    "quantised": (
        "QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul MatMulInteger ConvInteger DynamicQuantizeLinear"
    ),
    "control flow": "If Loop",
}
"""Family -> its operators."""

FAMILY = {name: family for family, names in FAMILIES.items() for name in names.split()}
"""Operator -> its family."""

INEXPRESSIBLE = ("STRING", "FLOAT8", "INT4", "UINT4", "INT2", "UINT2", "FLOAT4", "FLOAT6")
"""Prefixes of element types that torch does not compute with."""

TOLERANCE = {"float16": (2e-3, 2e-3), "bfloat16": (2**-7, 2e-3)}
"""Element type -> relative and absolute tolerance.

For bfloat16 the relative one is a unit in the last place, which is the error of the suite itself.
"""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case.

    Attributes:
        case: the name of the case.
        operator: the operator of its first node.
        verdict: "pass", "refused" or "wrong".
        reason: why it did not pass.
    """

    case: str
    operator: str
    verdict: str
    reason: str = ""


class _Wrong(Exception):
    """An output that differs from the expected one."""


Convert = Callable[[onnx.ModelProto], Callable[..., Any]]
"""A converter under test: it makes a function of torch tensors from a model."""


def importer(model: onnx.ModelProto) -> fx.GraphModule:
    """Import a model, without the checks that need a classifier."""
    loaded = ir.from_proto(model)
    fold_constants(loaded)
    return import_graph(loaded)


def cases() -> Iterator[TestCase]:
    """The cases that are counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite computes infinities on purpose
        suite = load_model_tests(kind="node")
    for case in suite:
        node = case.model.graph.node[0]
        counts = "_expanded" not in case.name and node.domain in ("", "ai.onnx") and node.op_type in FAMILY
        if counts and _expressible(case.model):
            yield case


def _types(graph: onnx.GraphProto) -> Iterator[int]:
    for info in [*graph.input, *graph.output, *graph.value_info]:
        yield from _type_of(info.type)
    for tensor in graph.initializer:
        yield tensor.data_type
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t.data_type
            if attribute.name == "to":
                yield attribute.i
            if attribute.HasField("g"):
                yield from _types(attribute.g)


def _type_of(kind: onnx.TypeProto) -> Iterator[int]:
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        yield kind.tensor_type.elem_type
    elif which in ("sequence_type", "optional_type"):
        yield from _type_of(getattr(kind, which).elem_type)


def _expressible(model: onnx.ModelProto) -> bool:
    return not any(onnx.TensorProto.DataType.Name(t).startswith(INEXPRESSIBLE) for t in _types(model.graph))


def judge(case: TestCase, convert: Convert = importer) -> Outcome:
    """Convert and run a case in each of the ways that count, until one passes or is wrong.

    Args:
        case: the case.
        convert: the converter under test.
    """
    node = case.model.graph.node[0]
    reasons = []
    for frozen in _ways(case.model):
        try:
            for inputs, expected in case.data_sets:
                model, free = _freeze(case.model, inputs, frozen)
                _check(convert(model)(*free), expected)
        except _Wrong as error:
            return Outcome(case.name, node.op_type, "wrong", str(error))
        except Exception as error:  # converters raise many types
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
        else:
            return Outcome(case.name, node.op_type, "pass")
    return Outcome(case.name, node.op_type, "refused", reasons[-1])


def _ways(model: onnx.ModelProto) -> list[frozenset[int]]:
    """Which inputs to make initialisers: none; all but the first; those that must be Python numbers."""
    count = len(model.graph.input)
    loaded = ir.from_proto(model)
    node = loaded.graph[0]
    names = [value.name for value in loaded.graph.inputs]
    if node.op_type in ("If", "Loop"):
        host: set[int] = set(range(count))
    else:
        operator = operator_of(node, loaded.opset_imports)
        positions = operator.host_inputs if operator is not None else frozenset()
        read = [node.inputs[i] for i in positions if i < len(node.inputs)]
        host = {names.index(v.name) for v in read if v is not None and v.name in names}
    return list(dict.fromkeys([frozenset(), frozenset(range(1, count)), frozenset(host)]))


def _freeze(model: onnx.ModelProto, inputs: Sequence[Any], frozen: frozenset[int]) -> tuple[onnx.ModelProto, list[Any]]:
    """The model with some inputs as initialisers, and torch values for the others."""
    frozen_model = onnx.ModelProto()
    frozen_model.CopyFrom(model)
    del frozen_model.graph.input[:]
    free = []
    for i, (value, data) in enumerate(zip(model.graph.input, inputs, strict=True)):
        if i in frozen:
            tensor = frozen_model.graph.initializer.add()
            tensor.CopyFrom(_tensor(data))
            tensor.name = value.name
        else:
            frozen_model.graph.input.add().CopyFrom(value)
            free.append(_value(data))
    return frozen_model, free


def _tensor(data: Any) -> onnx.TensorProto:
    if isinstance(data, (list, type(None))):
        raise UnsupportedTeacherError("a sequence or an optional is not a tensor")
    return data if isinstance(data, onnx.TensorProto) else numpy_helper.from_array(np.asarray(data))


def _value(data: Any) -> Any:
    """A value of a case in torch: a sequence is a list, an empty optional is None."""
    if isinstance(data, list):
        return [_value(x) for x in data]
    return None if data is None else to_torch(ir.from_proto(_tensor(data)))


def _check(outputs: Any, expected: Sequence[Any]) -> None:
    """Compare the outputs of a converted model: one tensor, or several in the graph's order."""
    results = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    if len(results) != len(expected) and len(expected) == 1:
        results = [results]  # the only output is a sequence
    if len(results) != len(expected):
        raise _Wrong(f"{len(results)} outputs, expected {len(expected)}")
    for i, (result, expected_value) in enumerate(zip(results, expected, strict=True)):
        _compare(f"output {i}", result, expected_value)


def _compare(name: str, result: Any, expected: Any) -> None:
    if isinstance(result, (list, tuple)) and isinstance(expected, list) and len(result) == len(expected):
        for i, (element, expected_element) in enumerate(zip(result, expected, strict=True)):
            _compare(f"{name}[{i}]", element, expected_element)
        return
    if not isinstance(result, torch.Tensor) or isinstance(expected, list):
        raise UnsupportedTeacherError(f"{name} is not a tensor")
    reference = np.asarray(numpy_helper.to_array(expected) if isinstance(expected, onnx.TensorProto) else expected)
    array = _array(result)
    if array.shape != reference.shape:
        raise _Wrong(f"{name} has shape {array.shape}, expected {reference.shape}")
    relative, absolute = TOLERANCE.get(reference.dtype.name, (1e-3, 1e-5))
    a, b = array.astype(np.float64), reference.astype(np.float64)
    if not np.allclose(a, b, rtol=relative, atol=absolute, equal_nan=True):
        finite = np.isfinite(a) & np.isfinite(b)
        raise _Wrong(f"{name} differs by {np.abs(a - b)[finite].max(initial=0):.3g}")


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()


def table(outcomes: Sequence[Outcome]) -> str:
    """The numbers of passed and counted cases for each family, as Markdown."""
    rows = ["| family | pass | cases |", "|---|---:|---:|"]
    for family in FAMILIES:
        members = [o for o in outcomes if FAMILY[o.operator] == family]
        rows.append(f"| {family} | {sum(o.verdict == 'pass' for o in members)} | {len(members)} |")
    rows.append(f"| **total** | **{sum(o.verdict == 'pass' for o in outcomes)}** | **{len(outcomes)}** |")
    return "\n".join(rows)


def operators() -> str:
    """All operators that the importer supports, with their schema versions, as Markdown."""
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for domain, name, version in registered():
        versions[domain, name].append(version)
    rows = ["| domain | operator | schema versions |", "|---|---|---|"]
    for (domain, name), numbers in sorted(versions.items()):
        rows.append(f"| {domain or 'ai.onnx'} | {name} | {', '.join(map(str, sorted(numbers)))} |")
    return "\n".join(rows)


def main() -> int:
    if "--operators" in sys.argv[1:]:
        print(operators())
        return 0
    outcomes = [judge(case) for case in cases()]
    print(table(outcomes))
    for outcome in outcomes:
        if outcome.verdict != "pass":
            print(f"{outcome.verdict:8}{outcome.case}: {outcome.reason}")
    wrong = [o.case for o in outcomes if o.verdict == "wrong"]
    print(f"silently wrong: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
