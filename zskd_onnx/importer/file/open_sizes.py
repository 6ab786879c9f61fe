"""Make sizes free that exporters write as -1, 0 or '?'."""

from __future__ import annotations

from onnx import ModelProto

UNKNOWN = ("", "?", "-1", "None")
"""Names of sizes that mean "any size". As names they would say that two sizes are equal."""


def free_open_sizes(model: ModelProto) -> None:
    """Clear the sizes of the main graph's values that stand for any size, in place.

    Paddle2ONNX writes -1, other exporters 0. onnxruntime and onnx-ir would read 0 as an empty tensor.
    """
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_value") and size.dim_value < 1:
                size.ClearField("dim_value")
            elif size.HasField("dim_param") and size.dim_param in UNKNOWN:
                size.ClearField("dim_param")
