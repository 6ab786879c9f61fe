"""TensorBoard: curves of the run, its result and its pictures, in ``tensorboard/`` of the output folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image

from zskd_onnx.errors import MissingExtraError
from zskd_onnx.events import Event
from zskd_onnx.tracking.figures import final_figures

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from zskd_onnx.pipeline.result import CompressionResult

PICTURES = ("impressions.png", "class_similarity.png")


class TensorBoardTracker:
    """Writes event files that ``tensorboard --logdir OUTPUT/tensorboard`` shows; every run has its own folder there."""

    def __init__(self, output: str | Path) -> None:
        """
        Args:
            output: folder of the run. Nothing is written before the run has figures, because a new run needs an
                empty folder.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        try:
            from torch.utils import tensorboard
        except ImportError as error:
            raise MissingExtraError("TensorBoard is not installed; run pip install 'zskd-onnx[tensorboard]'") from error
        self._new_writer = tensorboard.SummaryWriter
        self._output = Path(output)
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        if event.kind == "progress" and event.figures:
            for name, value in event.figures.items():
                self._open().add_scalar(f"{event.stage}/{name}", value, event.completed)

    def finish(self, result: CompressionResult) -> None:
        """Write the recipe, the figures of the result, and the pictures."""
        writer, folder = self._open(), result.student.parent
        for name, value in final_figures(result).items():
            writer.add_scalar(f"result/{name}", value)
        recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
        writer.add_text("recipe", "".join(f"    {line}\n" for line in recipe.splitlines()))
        for name in PICTURES:
            if (folder / name).is_file():
                pixels = np.asarray(Image.open(folder / name).convert("RGB"))
                writer.add_image(name.removesuffix(".png"), pixels, dataformats="HWC")

    def _open(self) -> SummaryWriter:
        if self._writer is None:
            self._writer = self._new_writer(str(self._output / "tensorboard" / time.strftime("%Y%m%d-%H%M%S")))
        return self._writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
