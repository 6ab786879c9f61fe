"""Train and export the demo's teacher: python -m zskd_onnx.assets.make_digits_teacher [OUTPUT.onnx].

A convolutional net on three quarters of scikit-learn's handwritten digits (the demo scores on the
rest). Takes 8x8 images with values from 0 to 16, as the data set has them, and gives logits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

from zskd_onnx.pipeline.demo import TEACHER, held_out_digits, training_digits

SEED = 0
EPOCHS = 60
BATCH = 64


class Scaled(nn.Module):
    """Values from 0 to 16 to [0, 1], then the net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x / 16)


def train() -> Scaled:
    """The teacher, in inference mode."""
    torch.manual_seed(SEED)
    x, y = (torch.from_numpy(a) for a in training_digits())
    model = Scaled(
        nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(512, 52), nn.ReLU(), nn.Linear(52, 10)),
        )
    )
    steps = EPOCHS * (len(x) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def main(output: Path) -> None:
    """Train, report on the held-out digits, export."""
    model = train()
    x, y = held_out_digits()
    with torch.no_grad():
        predicted = model(torch.from_numpy(x)).argmax(1).numpy()
    print(f"held-out accuracy {np.mean(predicted == y):.4f}")
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    onnx.helper.set_model_props(proto, {"zskd.input_range": "0,16", "zskd.layout": "NCHW"})
    output.write_bytes(proto.SerializeToString(deterministic=True))
    print(f"{output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(TEACHER))
