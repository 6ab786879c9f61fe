"""Families of ONNX operators, by the names that ``fx_graph.operator_name`` returns."""

from __future__ import annotations

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "QLinearConv", "ConvInteger", "com.microsoft.FusedConv"})
POOLING = frozenset({"MaxPool", "AveragePool", "LpPool", "com.microsoft.QLinearAveragePool"})
GLOBAL_POOLING = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "ReduceMean", "ReduceMax"})
ACTIVATIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus"}
    | {"Softsign", "Gelu", "Mish", "Swish", "ThresholdedRelu", "Clip", "com.microsoft.Gelu"}
    | {"com.microsoft.QuickGelu", "com.microsoft.FastGelu", "com.microsoft.BiasGelu"}
    | {"com.microsoft.QLinearLeakyRelu", "com.microsoft.QLinearSigmoid"}
)
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Neg", "Abs", "Erf", "Min", "Max"})
SAME_ELEMENTS = frozenset({"Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output has the elements of their input in the same order."""

QUANTIZE = frozenset({"QuantizeLinear", "com.microsoft.QuantizeLinear"})
DEQUANTIZE = frozenset({"DequantizeLinear", "com.microsoft.DequantizeLinear"})

WEIGHTLESS = (
    ACTIVATIONS
    | POOLING
    | GLOBAL_POOLING
    | ARITHMETIC
    | SAME_ELEMENTS
    | QUANTIZE
    | DEQUANTIZE
    | frozenset({"LRN", "Pad"})
)
"""Operators that may stand between two layers of a chain, if they read no weights."""
