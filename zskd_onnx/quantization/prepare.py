"""A classifier's file as onnxruntime's quantiser wants it: weights inside, constants folded, shapes inferred."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import version_converter
from onnxscript.optimizer import fold_constants

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.source import ORIGIN
from zskd_onnx.importer.file.subgraph import nodes_behind
from zskd_onnx.importer.write_back import read_original
from zskd_onnx.teacher.class_labels import UNBOUNDED
from zskd_onnx.teacher.classifier import Classifier

LEAST_OPSET = 13
"""First version of the ONNX operators in which weights have a scale for each channel."""

QUANTISERS = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def prepare(classifier: Classifier) -> onnx.ModelProto:
    """The model of a classifier's file, optimised in ways that stay within ONNX; names of inputs and outputs stay.

    Batch normalisation is folded into convolutions, so that both are quantised as one.

    Raises:
        UnsupportedTeacherError: the file is quantised or in half precision already, has a loop that the import did not
            check, or onnxruntime cannot optimise it.
    """
    source = classifier.source
    model = read_original(source.model.meta[ORIGIN])
    expect_float(model, source.path)
    _expect_bounded(model, classifier.output.name, source.path)
    try:
        _fold_constants(model)
        model = _optimised(_upgraded(model))
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # the converter and onnxruntime raise many types
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedTeacherError(
            f"{source.path}: cannot be prepared for quantisation ({reason}); export it with opset {LEAST_OPSET} or later"
        ) from error


def expect_float(model: onnx.ModelProto, path: Path) -> None:
    """Raise UnsupportedTeacherError if weights are integers or half-precision numbers already."""
    for node in model.graph.node:
        if node.op_type in QUANTISERS or node.op_type.startswith(("QLinear", "QGemm")):
            raise UnsupportedTeacherError(
                f"{path}: node '{node.name}' ({node.op_type}) shows that the file is quantised; give the float file"
            )
    for tensor in model.graph.initializer:
        if tensor.data_type in HALVES:
            raise UnsupportedTeacherError(
                f"{path}: weight '{tensor.name}' is in half precision; give the file in single precision"
            )


def _expect_bounded(model: onnx.ModelProto, output: str, path: Path) -> None:
    """Raise UnsupportedTeacherError if a node that the scores do not depend on, and the import did not check, may never end."""
    checked = [node.output[0] for node in nodes_behind(model, [output])]
    for node in model.graph.node:
        if node.op_type in UNBOUNDED and node.output[0] not in checked:
            raise UnsupportedTeacherError(
                f"{path}: node '{node.name}' ({node.op_type}) serves other outputs than '{output}' and is not checked; "
                f"export the model with the output '{output}' alone"
            )


def _fold_constants(model: onnx.ModelProto) -> None:
    """Fold constants, in place. Some that onnxruntime leaves, such as the biases of zeros that torch expands, keep batch
    normalisation from being folded into convolutions.
    """
    outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in model.graph.output]
    for value in model.graph.output:
        if value.type.WhichOneof("value") != "tensor_type":
            value.ClearField("type")  # onnx-ir cannot read map types
    fold_constants(model)
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with ``LEAST_OPSET`` or a later version of the operators."""
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), LEAST_OPSET)
    return model if version >= LEAST_OPSET else version_converter.convert_version(model, LEAST_OPSET)


def _optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model after onnxruntime's basic optimisations, which use operators of ONNX alone."""
    domains = {entry.domain for entry in model.opset_import}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        ort.InferenceSession(model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
    opsets = [entry for entry in optimised.opset_import if entry.domain in domains]
    del optimised.opset_import[:]
    optimised.opset_import.extend(opsets)
    for node in optimised.graph.node:
        node.name = node.name or node.output[0]  # the quantiser refers to nodes by their names
    del optimised.metadata_props[:]
    optimised.metadata_props.extend(model.metadata_props)
    return optimised
