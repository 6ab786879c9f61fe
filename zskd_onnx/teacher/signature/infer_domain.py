"""Inference of the input domain: from options, the file's metadata, scaling in its graph, or a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.teacher.signature.domain import LAYOUTS, Certainty, Domain
from zskd_onnx.teacher.signature.input_scaling import InputScaling, trace_input_scaling
from zskd_onnx.teacher.signature.sample_shape import sample_shape
from zskd_onnx.teacher.signature.single_input import single_input

PIXELS = {ir.DataType.UINT8: (0.0, 255.0), ir.DataType.INT8: (-128.0, 127.0)}
"""Integer types that hold pixels -> their range."""

Bounds = tuple[np.ndarray, np.ndarray]
"""Lowest and highest value of each channel, (C,) each."""


@dataclass(frozen=True)
class InputOptions:
    """Input options of the user; None leaves a property to the file.

    Attributes:
        range: lowest and highest raw value, before ``mean`` and ``std`` are applied, such as (0, 255).
        mean: the file expects (raw - mean) / std; one number, or one per channel.
        std: likewise.
        layout: order of the axes, one of ``domain.LAYOUTS``, such as "NHWC".
        shape: shape of one sample in the file's layout, for a file that does not fix it.
    """

    range: Sequence[float] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    layout: str | None = None
    shape: Sequence[int] | None = None


def infer_domain(model: ir.Model, options: InputOptions) -> Domain:
    """Infer the domain of a cleaned model's input.

    Options come first, then metadata (``zskd.input_range``, ``zskd.mean``, ...), then scaling at
    the start of the graph. The default range is 0..1, for vectors -2..2.

    Raises:
        UnsupportedTeacherError: the model has several inputs, or one without gradients or of
            unknown size.
        UsageError: an option does not fit the input.
    """
    value = single_input(model)
    dtype = value.dtype
    assert dtype is not None  # single_input has checked it
    file_shape = sample_shape(value, options.shape, options.layout)
    scaling = trace_input_scaling(value, file_shape)
    metadata = model.metadata_props
    layout, layout_source = _layout(file_shape, options.layout, metadata, scaling)
    if layout != LAYOUTS[len(layout)][0]:
        file_shape = (file_shape[-1], *file_shape[:-1])
    (low, high), range_source, certainty = _range(file_shape, dtype, options, metadata, scaling)
    file_range = _range(file_shape, dtype, InputOptions(), metadata, scaling)
    return Domain(
        name=value.name or "",
        dtype=dtype.numpy().name,
        layout=layout,
        shape=file_shape,
        low=_merge_equal(low, file_shape),
        high=_merge_equal(high, file_shape),
        layout_source=layout_source,
        range_source=range_source,
        certainty=certainty,
        doubts=(*_contradiction((low, high), range_source, file_range), *_order(value, file_shape, scaling)),
    )


def _layout(
    shape: tuple[int, ...], option: str | None, metadata: Mapping[str, str], scaling: InputScaling
) -> tuple[str, str]:
    """Return the layout and its source.

    Args:
        shape: shape of one sample in the file's layout.
    """
    allowed = LAYOUTS[len(shape) + 1]
    for name, source in ((option, "option"), (metadata.get("zskd.layout"), "file metadata")):
        if name is not None:
            if name.upper() not in allowed:
                raise UsageError(
                    f"layout '{name}' ({source}): expected {' or '.join(allowed)} "
                    f"for an input of shape (N, {', '.join(map(str, shape))})"
                )
            return name.upper(), source
    if len(allowed) == 1:
        return allowed[0], "input rank"
    if scaling.layout is not None:
        return scaling.layout, scaling.layout_node
    # Images have 1, 3 or 4 channels; a side of that size is unlikely.
    first_fits, last_fits = (size in (1, 3, 4) for size in (shape[0], shape[-1]))
    if last_fits and not first_fits:
        return allowed[1], "input shape"
    return allowed[0], "input shape" if first_fits else "default"


def _range(
    shape: tuple[int, ...],
    dtype: ir.DataType,
    options: InputOptions,
    metadata: Mapping[str, str],
    scaling: InputScaling,
) -> tuple[Bounds, str, Certainty]:
    """Return the bounds of each channel, their source, and how certain they are.

    Args:
        shape: shape of one sample, channels first.
    """
    channels = shape[0]
    properties: dict[str, Sequence[float]] = {}
    sources = set()
    for key in ("input_range", "mean", "std"):
        option = getattr(options, key.removeprefix("input_"))
        if option is not None:
            properties[key] = option
            sources.add("option")
        elif f"zskd.{key}" in metadata:
            properties[key] = _numbers(metadata[f"zskd.{key}"], f"zskd.{key}")
            sources.add("file metadata")
    if not properties and "zskd.low" in metadata and "zskd.high" in metadata:
        ends = [
            _per_channel(_numbers(metadata[key], key), channels, f"file metadata {key}")
            for key in ("zskd.low", "zskd.high")
        ]
        if (ends[0] >= ends[1]).any():
            raise UnsupportedTeacherError("file metadata zskd.low: expected each value to be below that of zskd.high")
        return (ends[0], ends[1]), "file metadata", "known"
    if not properties and (bounds_and_source := _from_graph(shape, dtype, scaling)) is not None:
        return *bounds_and_source, "known" if scaling.quantised is None else "calibrated"
    if "input_range" in properties:
        low, high = _lowest_and_highest(properties["input_range"])
    elif dtype in PIXELS:
        low, high = PIXELS[dtype]
        sources.add("input type")
    elif properties:
        low, high = 0.0, 1.0
        sources.add("default range 0..1")
    else:
        low, high = (0.0, 1.0) if len(shape) > 2 else (-2.0, 2.0)
        sources.add("default, because the file has no range")
    mean = _per_channel(properties.get("mean", [0.0]), channels, "mean")
    std = _per_channel(properties.get("std", [1.0]), channels, "std")
    if (std <= 0).any():
        raise UsageError(f"std {std.tolist()}: expected positive numbers")
    certainty: Certainty = "known" if properties or dtype in PIXELS else "assumed"
    return ((low - mean) / std, (high - mean) / std), " and ".join(sorted(sources)), certainty


def _contradiction(bounds: Bounds, source: str, file_range: tuple[Bounds, str, Certainty]) -> tuple[str, ...]:
    """Return a warning where options give another range than the file itself."""
    (low, high), file_source, certainty = file_range
    if "option" not in source or certainty != "known":
        return ()
    slack = (high - low) / 100
    if (np.abs(bounds[0] - low) <= slack).all() and (np.abs(bounds[1] - high) <= slack).all():
        return ()
    given, own = (f"{ends[0].min():.4g}..{ends[1].max():.4g}" for ends in (bounds, (low, high)))
    return (
        f"the options give the input range {given}, but the file gives {own} ({file_source}); the options are taken",
    )


def _order(value: ir.Value, shape: tuple[int, ...], scaling: InputScaling) -> tuple[str, ...]:
    """Return a warning where the first layer takes a vector for a signal or an image."""
    if not scaling.ordered_at:
        return ()
    return (
        f"input '{value.name}' (N, {shape[0]}) is taken for a vector, but {scaling.ordered_at} takes it for a signal or an image, "
        "and samples of vectors are neither; export the model with the input shape that this node takes, such as "
        f"(N, 1, {shape[0]}) for a signal",
    )


def _from_graph(shape: tuple[int, ...], dtype: ir.DataType, scaling: InputScaling) -> tuple[Bounds, str] | None:
    """Return the bounds that scaling or a quantiser at the start of the graph implies, and their source."""
    if dtype in PIXELS:
        return None
    if scaling.quantised is None:
        ends, source = scaling.scaled_range(len(shape)), f"scaling at {scaling.node}"
    else:
        ends, source = scaling.quantised, f"quantisation at {scaling.quantiser}"
    if ends is None:
        return None
    low, high = (np.asarray(end, dtype=np.float64) for end in ends)
    if low.size not in (1, shape[0]):  # an option names another layout than the constants have
        low, high = low.min(), high.max()
    return (np.broadcast_to(low, shape[:1]), np.broadcast_to(high, shape[:1])), source


def _numbers(text: str, key: str) -> list[float]:
    """Parse metadata such as "0.5,0.25" or "[0.5, 0.25]"."""
    try:
        return [float(part) for part in text.replace("[", "").replace("]", "").split(",")]
    except ValueError as error:
        raise UnsupportedTeacherError(
            f"file metadata {key} = '{text}': expected numbers separated by commas"
        ) from error


def _per_channel(values: Sequence[float], channels: int, what: str) -> np.ndarray:
    """Return one number per channel, (C,), from one or C numbers."""
    if len(values) not in (1, channels) or not np.isfinite(values).all():
        raise UsageError(f"{what}: expected 1 or {channels} finite numbers, got {list(values)}")
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (channels,))


def _merge_equal(bounds: np.ndarray, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Return one number per channel; a single one for a vector whose features all have the same."""
    numbers = tuple(map(float, bounds))
    return numbers[:1] if len(shape) == 1 and len(set(numbers)) == 1 else numbers


def _lowest_and_highest(values: Sequence[float]) -> tuple[float, float]:
    """Check the two ends of a range."""
    if len(values) != 2 or not np.isfinite(values).all() or values[0] >= values[1]:
        raise UsageError(f"input range {list(values)}: expected the lowest and the highest value, such as 0,255")
    return float(values[0]), float(values[1])
