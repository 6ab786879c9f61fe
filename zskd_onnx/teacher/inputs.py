"""The input domain: what the teacher's file takes, and how it maps to the unit space.

Impressions, generators, augmentation and students all work in the *unit space*: channels first,
every value in [0, 1], black to white. ``Domain`` is the affine map between it and the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.teacher.nodes import describe
from zskd_onnx.teacher.operators.constant import TORCH_DTYPE

LAYOUTS = {4: ("NCHW", "NHWC"), 2: ("NF",)}
SAMPLE_LIMIT = 1 << 26
"""Values that one sample may have."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class InputOptions:
    """What the user says of the input; None leaves it to the file.

    Attributes:
        range: lowest and highest raw value, before ``mean`` and ``std``.
        mean, std: the file expects (raw - mean) / std, one number or one for each channel.
        layout: "NCHW" or "NHWC".
        shape: one sample in the file's own order, for a file that leaves its size open.
    """

    range: Sequence[float] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    layout: str | None = None
    shape: Sequence[int] | None = None


@dataclass(frozen=True)
class Domain:
    """Where the teacher's inputs live.

    Attributes:
        name: the input's name in the file.
        dtype: its element type in the file, as numpy names it.
        layout: "NCHW", "NHWC" or "NF".
        shape: one sample in the unit space: (C, H, W) or (F,).
        low, high: the file's values at unit 0 and 1, one for each channel (one in all for "NF").
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
    def channels(self) -> int:
        """Channels of an image, 1 for a vector."""
        return self.shape[0] if self.layout != "NF" else 1

    @property
    def is_image(self) -> bool:
        return self.layout != "NF"

    @property
    def torch_dtype(self) -> torch.dtype:
        """What the imported graph takes: the file's type, or float32 where that holds integers."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype if dtype.is_floating_point else torch.float32

    def file_shape(self, batch: int) -> tuple[int, ...]:
        """The shape of a batch as the file takes it."""
        if self.layout == "NHWC":
            channels, *size = self.shape
            return (batch, *size, channels)
        return (batch, *self.shape)

    def to_file(self, unit: Tensor) -> Tensor:
        """From the unit space (N, C, H, W) or (N, F) to what the file takes; differentiable."""
        low, span = self._affine(unit)
        x = unit if low is None or span is None else unit * span + low
        x = x.to(self.torch_dtype)
        return x.permute(0, 2, 3, 1) if self.layout == "NHWC" else x

    def to_unit(self, x: Tensor) -> Tensor:
        """From what the file takes to the unit space; the inverse of ``to_file``."""
        x = x.to(torch.float32)
        x = x.permute(0, 3, 1, 2) if self.layout == "NHWC" else x
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
        shape = (-1, 1, 1) if self.is_image else (-1,)
        low = torch.tensor(self.low, dtype=like.dtype, device=like.device).view(shape)
        high = torch.tensor(self.high, dtype=like.dtype, device=like.device).view(shape)
        return low, high - low


def resolve_domain(model: ir.Model, options: InputOptions) -> Domain:
    """Learn the domain from the options, the file's metadata, its graph, and last a default.

    Raises:
        UnsupportedTeacherError: the input is not an image or a vector of numbers.
        UsageError: an option does not fit the input.
    """
    value = _single_input(model)
    dtype = value.dtype
    if dtype not in TORCH_DTYPE or dtype in (ir.DataType.BOOL, ir.DataType.INT64, ir.DataType.INT32):
        raise UnsupportedTeacherError(
            f"input '{value.name}' has type {dtype.name if dtype else 'unknown'}; "
            "expected floating-point or 8-bit pixel values (token ids and strings have no gradient)"
        )
    file_shape = _sample_shape(value, options.shape)
    found = _follow_input(value)
    metadata = model.metadata_props
    layout, layout_source = _layout(file_shape, options.layout, metadata, found)
    if layout == "NHWC":
        file_shape = (file_shape[2], *file_shape[:2])
    channels = file_shape[0] if layout != "NF" else 1
    low, high, range_source, assumed = _range(channels, layout, dtype, options, metadata, found)
    return Domain(
        name=value.name or "",
        dtype=dtype.numpy().name,
        layout=layout,
        shape=file_shape,
        low=low,
        high=high,
        layout_source=layout_source,
        range_source=range_source,
        assumed=assumed,
    )


def _single_input(model: ir.Model) -> ir.Value:
    inputs = list(model.graph.inputs)
    if len(inputs) != 1:
        names = ", ".join(f"'{v.name}'" for v in inputs) or "none"
        raise UnsupportedTeacherError(
            f"the model has {len(inputs)} inputs ({names}), expected one image or vector; "
            "export it with the others as constants"
        )
    return inputs[0]


def _sample_shape(value: ir.Value, given: Sequence[int] | None) -> tuple[int, ...]:
    declared = None if value.shape is None else list(value.shape)[1:]
    if declared is not None and given is not None and len(declared) != len(given):
        raise UsageError(
            f"--input-shape {list(given)}: input '{value.name}' has {len(declared)} dimensions after the batch"
        )
    wanted = list(given) if given is not None else declared or []
    sizes = [n for n in wanted if isinstance(n, int)]
    if (declared is None and given is None) or len(sizes) < len(wanted):
        raise UnsupportedTeacherError(
            f"input '{value.name}' leaves its size open ({value.shape}); say it with --input-shape, for example 3,224,224"
        )
    for fixed, size in zip(declared or sizes, sizes, strict=True):
        if isinstance(fixed, int) and fixed != size:
            raise UsageError(f"--input-shape {list(sizes)}: input '{value.name}' fixes {value.shape}")
    if len(sizes) + 1 not in LAYOUTS:
        raise UnsupportedTeacherError(
            f"input '{value.name}' has shape {value.shape}; expected images (N, C, H, W) or (N, H, W, C), or vectors (N, F)"
        )
    if any(n < 1 for n in sizes) or np.prod(np.array(sizes, dtype=object)) > SAMPLE_LIMIT:
        raise UnsupportedTeacherError(
            f"input '{value.name}' has shape {value.shape}; a sample may have {SAMPLE_LIMIT:,} values"
        )
    return tuple(sizes)


@dataclass
class _Found:
    """What the graph does to its input before the first layer: y = scale * x + shift."""

    layout: str | None = None
    layout_node: str = ""
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    node: str = ""


def _follow_input(value: ir.Value) -> _Found:
    found = _Found()
    scale, shift = np.ones(1), np.zeros(1)
    channels_last_by_transpose = False
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0].node, uses[0].idx
        if node.op_type == "Transpose" and "perm" in node.attributes:
            channels_last_by_transpose = tuple(node.attributes["perm"].value) == (0, 3, 1, 2)
            if channels_last_by_transpose:
                found.layout, found.layout_node = "NHWC", describe(node)
        elif node.op_type in ("Add", "Sub", "Mul", "Div"):
            other = node.inputs[1 - index]
            if other is None or other.const_value is None or (index == 1 and node.op_type in ("Sub", "Div")):
                break
            constant = other.const_value.numpy().astype(np.float64).reshape(-1)
            if constant.size > 16 or (node.op_type == "Div" and (constant == 0).any()):
                break
            if node.op_type in ("Add", "Sub"):
                shift = shift + (constant if node.op_type == "Add" else -constant)
            else:
                factor = constant if node.op_type == "Mul" else 1 / constant
                scale, shift = scale * factor, shift * factor
            found.scale, found.shift, found.node = scale, shift, found.node or describe(node)
        elif node.op_type == "Conv":
            if found.layout is None and not channels_last_by_transpose:
                found.layout, found.layout_node = "NCHW", describe(node)
            break
        elif node.op_type not in ("Cast", "Identity"):
            break
        value = node.outputs[0]
    return found


def _layout(shape: tuple[int, ...], option: str | None, metadata: Mapping[str, str], found: _Found) -> tuple[str, str]:
    allowed = LAYOUTS[len(shape) + 1]
    for given, source in ((option, "option"), (metadata.get("zskd.layout"), "file metadata")):
        if given is not None:
            if given not in allowed:
                raise UsageError(
                    f"layout '{given}' ({source}): expected {' or '.join(allowed)} for an input of shape (N, {', '.join(map(str, shape))})"
                )
            return given, source
    if len(allowed) == 1:
        return allowed[0], "rank of the input"
    if found.layout is not None:
        return found.layout, found.layout_node
    if shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4):
        return "NHWC", "shape of the input"
    return "NCHW", "shape of the input" if shape[0] in (1, 3, 4) else "default"


def _numbers(text: str, key: str) -> list[float]:
    try:
        return [float(part) for part in text.replace("[", "").replace("]", "").split(",")]
    except ValueError as error:
        raise UnsupportedTeacherError(f"file metadata {key} = '{text}': expected numbers with commas") from error


def _per_channel(values: Sequence[float], channels: int, what: str) -> np.ndarray:
    if len(values) not in (1, channels) or not np.isfinite(values).all():
        raise UsageError(f"{what}: expected 1 or {channels} finite numbers, got {list(values)}")
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (channels,))


def _range(
    channels: int, layout: str, dtype: ir.DataType, options: InputOptions, metadata: Mapping[str, str], found: _Found
) -> tuple[tuple[float, ...], tuple[float, ...], str, bool]:
    given: dict[str, Sequence[float]] = {}
    sources = set()
    for key in ("input_range", "mean", "std"):
        option = getattr(options, key.removeprefix("input_"))
        if option is not None:
            given[key] = option
            sources.add("option")
        elif f"zskd.{key}" in metadata:
            given[key] = _numbers(metadata[f"zskd.{key}"], f"zskd.{key}")
            sources.add("file metadata")
    assumed = False
    if "input_range" in given:
        low, high = _pair(given["input_range"])
    elif dtype in (ir.DataType.UINT8, ir.DataType.INT8):
        low, high = (0.0, 255.0) if dtype == ir.DataType.UINT8 else (-128.0, 127.0)
        sources.add("type of the input")
    elif not given and (seen := _range_before_scaling(found)) is not None:
        low, high = seen
        sources.add(f"scaling at {found.node}")
    elif given:
        low, high = 0.0, 1.0
        sources.add("default range 0..1")
    else:
        low, high = (0.0, 1.0) if layout != "NF" else (-2.0, 2.0)
        assumed = True
    mean = _per_channel(given.get("mean", [0.0]), channels, "mean")
    std = _per_channel(given.get("std", [1.0]), channels, "std")
    if (std <= 0).any():
        raise UsageError(f"std {std.tolist()}: expected positive numbers")
    lows, highs = (low - mean) / std, (high - mean) / std
    source = " and ".join(sorted(sources)) or "default: nothing in the file says"
    return tuple(map(float, lows)), tuple(map(float, highs)), source, assumed


def _pair(values: Sequence[float]) -> Pair:
    if len(values) != 2 or not np.isfinite(values).all() or values[0] >= values[1]:
        raise UsageError(f"input range {list(values)}: expected the lowest and the highest value, such as 0,255")
    return float(values[0]), float(values[1])


def _range_before_scaling(found: _Found) -> Pair | None:
    """The raw range that the graph's own scaling brings near [0, 1], [-1, 1] or unit variance."""
    if found.scale is None or found.shift is None:
        return None
    for high in (255.0, 1.0):
        ends = np.stack(np.broadcast_arrays(found.shift, found.scale * high + found.shift))
        if np.abs(ends).max() <= 4 and np.abs(ends[1] - ends[0]).min() >= 0.5:
            return 0.0, high
    if np.abs(found.shift).max() > 50:  # Caffe's models subtract a mean near 110 and do not scale
        return 0.0, 255.0
    return None
