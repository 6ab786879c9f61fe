"""Import of any ONNX file as a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.fixed_inputs import Fixed
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.importer.fx_graph import ImportedModel
from zskd_onnx.importer.passes import clean, drop_dangling
from zskd_onnx.importer.passes.linear_models import ML
from zskd_onnx.importer.translate import import_graph, is_supported


def import_onnx(
    path: str | Path,
    trainable: bool = False,
    *,
    fix: Fixed | None = None,
    input_shape: Sequence[int] | None = None,
) -> ImportedModel:
    """Import an ONNX file, which need not be a classifier, as a torch module.

    A trainable module has the file's floating-point weights as parameters. Its ``state_dict`` has the
    names of the file's tensors, and ``write_back`` writes it as an ONNX file. Weights are what layers
    such as Conv, Gemm, MatMul and LayerNormalization read, and biases, scales and embeddings behind the
    first layer. Scalings of the input, single numbers and masks stay constants. In training mode
    BatchNormalization uses the statistics of the batch, and updates the running ones; Dropout stays an
    identity. Weights in half precision are float32 while they are trained.

    Args:
        path: the .onnx file; external weights must lie in its folder.
        trainable: whether the weights become parameters.
        fix: constants for all inputs but one, by name.
        input_shape: one sample in the file's order, where the file leaves its size open.

    Returns:
        A module in evaluation mode, on the CPU. It takes the inputs that remain, in the file's order, and
        returns a tuple of the floating-point outputs that can be computed, in the file's order. In place
        of a ZipMap's output, it returns the scores that the ZipMap reads. The batch size stays as the file
        has it.

    Raises:
        UsageError: no such file, or a constant that does not fit its input.
        UnsupportedTeacherError: the file cannot be read, an operator is not supported, no output has
            floating-point values, or a trainable import has no floating-point weights.
    """
    model = read_onnx_file(path, fix).model
    clean(model, input_shape, trainable=trainable)
    floats = [
        value for value in map(_scores, model.graph.outputs) if value.dtype is None or value.dtype.is_floating_point()
    ]
    if not floats:
        raise UnsupportedTeacherError(f"{path}: no output has floating-point values; export the model with its scores")
    model.graph.outputs[:] = [value for value in floats if is_supported(model, value)] or floats
    drop_dangling(model)
    module = import_graph(model, trainable=trainable)
    module.eval()
    return module


def _scores(output: ir.Value) -> ir.Value:
    """The tensor behind an output: what a ZipMap reads, or the output itself."""
    node = output.producer()
    scores = node.inputs[0] if node is not None and (node.domain, node.op_type) == (ML, "ZipMap") else None
    return output if scores is None else scores
