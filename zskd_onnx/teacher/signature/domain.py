"""The input domain: the values that the teacher's file takes, and their map to the unit space.

Impressions, generators, augmentation and students all work in the *unit space*: channels first, every
value in [0, 1]. 0 stands for the lowest value of the domain, 1 for the highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

LAYOUTS = {2: ("NF",), 3: ("NCL", "NLC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
"""Rank of a batch -> its layouts, channels first before channels last: vectors, sequences, images, volumes."""

Certainty = Literal["known", "calibrated", "inferred", "scale inferred", "assumed"]
"""How certain a range is: from the file or an option; from a quantiser, which covers what it was calibrated on; from
the teacher's predictions, or its width alone; a default."""


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
        certainty: how certain the range is.
        doubts: contradictions, in words: of an option and the file or the teacher's predictions, or of a vector and the
            first layer, which takes it for a signal or an image.
    """

    name: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    layout_source: str
    range_source: str
    certainty: Certainty
    doubts: tuple[str, ...] = ()

    @property
    def assumed(self) -> bool:
        """Whether the range is a default: the file, the options and the teacher's predictions give none."""
        return self.certainty == "assumed"

    @property
    def range_in_words(self) -> str:
        """The range and how certain it is, such as "in the inferred range 0..255"."""
        if self.certainty == "known":
            return f"in the range {self.range} ({self.range_source})"
        if self.certainty == "scale inferred":
            return f"in the range {self.range} (scale inferred, offset assumed)"
        return f"in the {self.certainty} range {self.range}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may be wrong with range and layout, and what to do."""
        return (*self.doubts, *(text for text in (self.range_warning, self.layout_warning) if text is not None))

    @property
    def range_warning(self) -> str | None:
        """What may be wrong with the range, and what to do; None where something shows it."""
        if self.certainty == "assumed":
            return (
                "the input range is assumed: if the teacher was trained on another range, the student will be useless; "
                "give the range with --input-range"
            )
        if self.certainty == "scale inferred":
            return (
                f"the offset of the input range {self.range} is assumed ({self.range_source}); if the teacher was trained with "
                "another, the student will be poor; give the range with --input-range, or --mean and --std"
            )
        if self.certainty == "calibrated":
            return (
                f"the input range {self.range} is what the quantiser was calibrated on, not necessarily that of the "
                "training data; give the range with --input-range if you know it"
            )
        return None

    @property
    def layout_warning(self) -> str | None:
        """What may be wrong with the layout, and what to do; None where something shows it."""
        if self.layout_source != "default":
            return None
        others = [layout for layout in LAYOUTS[len(self.shape) + 1] if layout != self.layout]
        return (
            f"the layout is assumed to be {self.layout}: if the input's axes are in another order, the student will be "
            f"poor; give it with --layout {self.layout} or --layout {others[0]}"
        )

    @property
    def range(self) -> str:
        """Lowest and highest value, such as "0..255"."""
        return f"{min(self.low):.4g}..{max(self.high):.4g}"

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

    def mid_grey(self, batch: int) -> dict[str, np.ndarray]:
        """Return a feed of the file: its input -> samples whose values are all in the middle of the range."""
        return {self.name: self.to_array(self.to_file(torch.full((batch, *self.shape), 0.5)))}

    def _affine(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return low and high - low, shaped to broadcast over channels; None where the map is the identity."""
        if set(self.low) == {0.0} and set(self.high) == {1.0}:
            return None, None
        shape = (-1, *(1,) * (len(self.shape) - 1))
        low = torch.tensor(self.low, dtype=like.dtype, device=like.device).view(shape)
        high = torch.tensor(self.high, dtype=like.dtype, device=like.device).view(shape)
        return low, high - low
