"""RNN, GRU and LSTM with all their options, compared with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.importer.operators.single_node import Array, assert_as_onnxruntime, build, imported, normal

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 2


def weights(op_type: str, directions: int) -> list[Array]:
    rows = GATES[op_type] * HIDDEN
    return [
        normal(directions, rows, INPUTS, seed=1),
        normal(directions, rows, HIDDEN, seed=2),
        normal(directions, 2 * rows, seed=3),
    ]


@pytest.mark.parametrize("op_type", list(GATES))
@pytest.mark.parametrize("opset", [7, 14, 22])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_directions_lengths_and_states(op_type: str, opset: int, direction: str) -> None:
    directions = 2 if direction == "bidirectional" else 1
    outputs = 3 if op_type == "LSTM" else 2
    states = [normal(directions, BATCH, HIDDEN, seed=4 + i) for i in range(outputs - 1)]
    x, lengths = normal(STEPS, BATCH, INPUTS), np.array([5, 2, 3], np.int32)
    options: dict[str, Any] = {"outputs": outputs, "hidden_size": HIDDEN, "direction": direction}
    assert_as_onnxruntime(op_type, opset, x, *weights(op_type, directions), None, *states, **options)
    assert_as_onnxruntime(op_type, opset, x, *weights(op_type, directions), lengths, *states, **options)


def test_gru_linear_before_reset() -> None:
    x = normal(STEPS, BATCH, INPUTS)
    assert_as_onnxruntime("GRU", 14, x, *weights("GRU", 1), hidden_size=HIDDEN, linear_before_reset=1)


def test_lstm_peepholes_and_coupled_gates() -> None:
    x, peepholes = normal(STEPS, BATCH, INPUTS), normal(1, 3 * HIDDEN, seed=9)
    inputs = [x, *weights("LSTM", 1), None, None, None, peepholes]
    assert_as_onnxruntime("LSTM", 14, *inputs, hidden_size=HIDDEN)
    assert_as_onnxruntime("LSTM", 14, x, *weights("LSTM", 1), hidden_size=HIDDEN, input_forget=1)


@pytest.mark.parametrize("op_type", list(GATES))
def test_clip(op_type: str) -> None:
    inputs = 3 * normal(STEPS, BATCH, INPUTS), *weights(op_type, 1)
    assert_as_onnxruntime(op_type, 14, *inputs, hidden_size=HIDDEN, clip=0.5)


@pytest.mark.parametrize(
    ("name", "alpha", "beta"),
    [
        ("Relu", None, None),
        ("Softsign", None, None),
        ("Softplus", None, None),
        ("Affine", 0.5, 0.1),
        ("LeakyRelu", 0.3, None),
        ("ThresholdedRelu", 0.2, None),
        ("ScaledTanh", 0.5, 0.7),
        ("HardSigmoid", 0.3, 0.4),
        ("Elu", 0.5, None),
    ],
)
def test_activations(name: str, alpha: float | None, beta: float | None) -> None:
    options: dict[str, Any] = {"activations": [name], "hidden_size": HIDDEN}
    options |= {} if alpha is None else {"activation_alpha": [alpha]}
    options |= {} if beta is None else {"activation_beta": [beta]}
    assert_as_onnxruntime("RNN", 14, normal(STEPS, BATCH, INPUTS), *weights("RNN", 1), **options)


@pytest.mark.parametrize("op_type", list(GATES))
def test_gradients_reach_the_first_step(op_type: str) -> None:
    x = torch.from_numpy(normal(STEPS, BATCH, INPUTS)).requires_grad_()
    inputs = [x.detach().numpy(), *weights(op_type, 2)]
    options = {"hidden_size": HIDDEN, "direction": "bidirectional"}
    (y,) = imported(build(op_type, 14, inputs, [1, 2, 3], 1, "", options))(x)
    y[-1, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs() > 0).all()
