"""The input domain: what the teacher's file takes, and how it maps to the unit space.

Impressions, generators, augmentation and students all work in the *unit space*: channels first,
every value in [0, 1], lowest to highest. ``Domain`` is the affine map between it and the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LAYOUTS = {2: ("NF",), 3: ("NCL", "NLC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
"""By rank: vectors, sequences, images, volumes; channels first, then channels last."""


@dataclass(frozen=True)
class Domain:
    """Where the teacher's inputs live.

    Attributes:
        name: the input's name in the file.
        dtype: its element type in the file, as numpy names it.
        layout: one of ``LAYOUTS``.
        shape: one sample in the unit space: (C, L), (C, H, W), (C, D, H, W) or (F,).
        low, high: the file's values at unit 0 and 1, one for each channel (for each feature of a
            vector), or one for all.
        layout_source, range_source: where the two were learnt.
        assumed: whether the range is only a default.
    """

    name: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    layout_source: str
    range_source: str
    assumed: bool

    @property
    def channels_last(self) -> bool:
        """Whether the file has its channels behind the positions."""
        return self.layout in ("NLC", "NHWC", "NDHWC")

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def torch_dtype(self) -> torch.dtype:
        """What the imported graph computes in: float32, or float64 where the file is."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def file_shape(self, batch: int) -> tuple[int, ...]:
        """The shape of a batch as the file takes it."""
        if self.channels_last:
            channels, *size = self.shape
            return (batch, *size, channels)
        return (batch, *self.shape)

    def to_file(self, unit: Tensor) -> Tensor:
        """From the unit space (N, *shape) to what the file takes; differentiable."""
        low, span = self._affine(unit)
        x = unit if low is None or span is None else unit * span + low
        x = x.to(self.torch_dtype)
        return x.movedim(1, -1) if self.channels_last else x

    def to_unit(self, x: Tensor) -> Tensor:
        """From what the file takes to the unit space; the inverse of ``to_file``."""
        x = x.to(torch.float32)
        x = x.movedim(-1, 1) if self.channels_last else x
        low, span = self._affine(x)
        return x if low is None or span is None else (x - low) / span

    def to_array(self, x: Tensor) -> np.ndarray:
        """A tensor in the file's space as the array that onnxruntime takes; integers round."""
        dtype = np.dtype(self.dtype)
        array = x.detach().cpu().contiguous().numpy()
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            array = np.clip(np.rint(array), limits.min, limits.max)
        return array.astype(dtype)

    def _affine(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Low and span, shaped to broadcast over channels; None where the map is the identity."""
        if set(self.low) == {0.0} and set(self.high) == {1.0}:
            return None, None
        shape = (-1, *(1,) * (len(self.shape) - 1))
        low = torch.tensor(self.low, dtype=like.dtype, device=like.device).view(shape)
        high = torch.tensor(self.high, dtype=like.dtype, device=like.device).view(shape)
        return low, high - low
