"""The input domain: the values that the teacher's file takes, and their map to the unit space.

Impressions, generators, augmentation and students all work in the *unit space*: channels first, every
value in [0, 1]. 0 stands for the lowest value of the domain, 1 for the highest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LAYOUTS = {2: ("NF",), 3: ("NCL", "NLC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
"""Rank of a batch -> its layouts, channels first before channels last: vectors, sequences, images, volumes."""


@dataclass(frozen=True)
class Domain:
    """The input of the teacher's file, and its affine map to the unit space.

    Attributes:
        name: the input's name in the file.
        dtype: element type in the file, as numpy names it, such as "float32" or "uint8".
        layout: order of the axes in the file, one of ``LAYOUTS``, such as "NCHW".
        shape: shape of one sample in the unit space: (F,) for a vector, (C, L) for a sequence,
            (C, H, W) for an image, (C, D, H, W) for a volume.
        low: values in the file that stand for 0 in the unit space: one per channel (one per feature
            of a vector), or a single one for all.
        high: the same for 1 in the unit space.
        layout_source: where the layout comes from, such as "option" or "file metadata".
        range_source: where ``low`` and ``high`` come from.
        assumed: whether the range is a default, because neither the file nor an option gives one.
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
        """Whether the file stores channels after the positions."""
        return self.layout in ("NLC", "NHWC", "NDHWC")

    @property
    def is_image(self) -> bool:
        """Whether samples are images (C, H, W)."""
        return len(self.shape) == 3

    @property
    def torch_dtype(self) -> torch.dtype:
        """Floating-point type of the imported graph: float64 if the file has it, otherwise float32."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def file_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of a batch in the file's layout."""
        if self.channels_last:
            channels, *size = self.shape
            return (batch, *size, channels)
        return (batch, *self.shape)

    def to_file(self, unit: Tensor) -> Tensor:
        """Map samples (N, *shape) of the unit space to the file's values and layout; differentiable."""
        low, span = self._affine(unit)
        x = unit if low is None or span is None else unit * span + low
        x = x.to(self.torch_dtype)
        return x.movedim(1, -1) if self.channels_last else x

    def to_unit(self, x: Tensor) -> Tensor:
        """Map samples in the file's values and layout to the unit space, in float32; inverse of ``to_file``."""
        x = x.to(torch.float32)
        x = x.movedim(-1, 1) if self.channels_last else x
        low, span = self._affine(x)
        return x if low is None or span is None else (x - low) / span

    def to_array(self, x: Tensor) -> np.ndarray:
        """Return the file's values as an array for onnxruntime; integer types are rounded and clipped."""
        dtype = np.dtype(self.dtype)
        array = x.detach().cpu().contiguous().numpy()
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            array = np.clip(np.rint(array), limits.min, limits.max)
        return array.astype(dtype)

    def _affine(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return low and high - low, shaped to broadcast over channels; None where the map is the identity."""
        if set(self.low) == {0.0} and set(self.high) == {1.0}:
            return None, None
        shape = (-1, *(1,) * (len(self.shape) - 1))
        low = torch.tensor(self.low, dtype=like.dtype, device=like.device).view(shape)
        high = torch.tensor(self.high, dtype=like.dtype, device=like.device).view(shape)
        return low, high - low
