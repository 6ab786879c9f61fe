"""Train and export the teacher of the demo: python -m zskd_onnx.assets.make_digits_teacher [FOLDER].

A convolutional net for three quarters of scikit-learn's handwritten digits; the other quarter is the test set of
the demo. It takes 8x8 images with values from 0 to 16, as the data set has them, and returns logits. It needs
scikit-learn, which the extra ``test`` installs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

from zskd_onnx.pipeline.demo import TEACHER, TEST_SET

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
    x, y = (torch.from_numpy(array) for array in training_digits())
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


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits: (1797, 1, 8, 8) float32 from 0 to 16, and class numbers (1797,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images[:, None].astype(np.float32), bunch.target.astype(np.int64)


def training_digits() -> tuple[np.ndarray, np.ndarray]:
    """The three quarters of the digits that the teacher is trained on."""
    x, y = digits()
    return x[~_is_test(x)], y[~_is_test(y)]


def _is_test(samples: np.ndarray) -> np.ndarray:
    """Which samples are in the test set: every fourth."""
    return np.arange(len(samples)) % 4 == 0


def main(folder: Path) -> None:
    """Write teacher and test set, and print the teacher's accuracy."""
    model = train()
    x, y = (array[_is_test(array)] for array in digits())
    np.savez_compressed(folder / TEST_SET, x=x, y=y)
    with torch.no_grad():
        predicted = model(torch.from_numpy(x)).argmax(1).numpy()
    print(f"test accuracy {np.mean(predicted == y):.4f}")
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
    (folder / TEACHER).write_bytes(proto.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
