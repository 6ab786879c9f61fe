"""Inputs of layers, compared with torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx.students.pruning.layer_inputs import layer_inputs
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer

LAYERS = {
    "sequences": (nn.Conv1d(3, 4, 5, stride=2, padding=2, dilation=2), (3, 30)),
    "images": (nn.Conv2d(2, 4, (3, 5), stride=(1, 2), padding=(1, 0), dilation=(2, 1)), (2, 12, 17)),
    "volumes": (nn.Conv3d(2, 3, 3, stride=2, padding=1), (2, 6, 7, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_weights_are_outputs_of_the_convolution(name: str) -> None:
    layer, shape = LAYERS[name]
    layer.requires_grad_(False)
    x = torch.randn(3, *shape)
    onnx_layer = OnnxLayer(
        *("convolution", "node", layer.weight, None),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
    )
    rows = layer_inputs(x, onnx_layer, 50, torch.Generator().manual_seed(0))
    assert rows.shape == (3 * 50, layer.weight[0].numel())
    products = (rows @ onnx_layer.weight.flatten(1).T).view(3, 50, -1)
    outputs = (layer(x) - layer.bias.view(-1, *(1,) * (len(shape) - 1))).flatten(2).mT
    nearest = (products[:, :, None] - outputs[:, None]).abs().amax(3).min(2)
    assert float(nearest.values.max()) < 1e-5
    assert len(nearest.indices[0].unique()) > 10


def test_a_fully_connected_layer_has_a_row_per_sample() -> None:
    x = torch.randn(5, 7)
    layer = OnnxLayer("linear", "node", torch.randn(2, 7), None)
    assert torch.equal(layer_inputs(x, layer, 3, torch.Generator()), x)
