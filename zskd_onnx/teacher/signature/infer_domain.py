"""Learning the input domain from what the user says, the file's metadata, its graph, and last a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.teacher.signature.domain import LAYOUTS, Domain
from zskd_onnx.teacher.signature.input_scaling import FirstLayers, follow_input

SAMPLE_LIMIT = 1 << 26
"""Values that one sample may have."""

PIXELS = {ir.DataType.UINT8: (0.0, 255.0), ir.DataType.INT8: (-128.0, 127.0)}
"""Ranges of the integer types that hold pixels."""

Bounds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class InputOptions:
    """What the user says of the input; None leaves it to the file.

    Attributes:
        range: lowest and highest raw value, before ``mean`` and ``std``.
        mean, std: the file expects (raw - mean) / std, one number or one for each channel.
        layout: one of ``domain.LAYOUTS``.
        shape: one sample in the file's own order, for a file that leaves its size open.
    """

    range: Sequence[float] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    layout: str | None = None
    shape: Sequence[int] | None = None


def resolve_domain(model: ir.Model, options: InputOptions) -> Domain:
    """Learn the domain of a model's input.

    Raises:
        UnsupportedTeacherError: the input holds no numbers with a gradient, or there are several.
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
    found = follow_input(value, file_shape)
    metadata = model.metadata_props
    layout, layout_source = _layout(file_shape, options.layout, metadata, found)
    if layout != LAYOUTS[len(layout)][0]:
        file_shape = (file_shape[-1], *file_shape[:-1])
    (low, high), range_source, assumed = _range(file_shape, dtype, options, metadata, found)
    return Domain(
        name=value.name or "",
        dtype=dtype.numpy().name,
        layout=layout,
        shape=file_shape,
        low=_numbers_of(low, file_shape),
        high=_numbers_of(high, file_shape),
        layout_source=layout_source,
        range_source=range_source,
        assumed=assumed,
    )


def _single_input(model: ir.Model) -> ir.Value:
    inputs = list(model.graph.inputs)
    if len(inputs) != 1:
        names = ", ".join(f"'{v.name}'" for v in inputs) or "none"
        raise UnsupportedTeacherError(
            f"the model has {len(inputs)} inputs ({names}), expected one; give the others as constants, "
            "with --fix NAME=VALUE for each"
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
            f"input '{value.name}' has shape {value.shape}; expected vectors (N, F), "
            "sequences (N, C, L), images (N, C, H, W) or volumes (N, C, D, H, W)"
        )
    if any(n < 1 for n in sizes) or np.prod(np.array(sizes, dtype=object)) > SAMPLE_LIMIT:
        raise UnsupportedTeacherError(
            f"input '{value.name}' has shape {value.shape}; a sample may have {SAMPLE_LIMIT:,} values"
        )
    return tuple(sizes)


def _layout(
    shape: tuple[int, ...], option: str | None, metadata: Mapping[str, str], found: FirstLayers
) -> tuple[str, str]:
    allowed = LAYOUTS[len(shape) + 1]
    for given, source in ((option, "option"), (metadata.get("zskd.layout"), "file metadata")):
        if given is not None:
            if given.upper() not in allowed:
                raise UsageError(
                    f"layout '{given}' ({source}): expected {' or '.join(allowed)} for an input of shape (N, {', '.join(map(str, shape))})"
                )
            return given.upper(), source
    if len(allowed) == 1:
        return allowed[0], "rank of the input"
    if found.layout is not None:
        return found.layout, found.layout_node
    front, back = (size in (1, 3, 4) for size in (shape[0], shape[-1]))
    if back and not front:
        return allowed[1], "shape of the input"
    return allowed[0], "shape of the input" if front else "default"


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
    shape: tuple[int, ...], dtype: ir.DataType, options: InputOptions, metadata: Mapping[str, str], found: FirstLayers
) -> tuple[Bounds, str, bool]:
    """Bounds for each channel, where they were learnt, and whether they are only assumed."""
    channels = shape[0]
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
    if not given and "zskd.low" in metadata and "zskd.high" in metadata:
        ends = [
            _per_channel(_numbers(metadata[key], key), channels, f"file metadata {key}")
            for key in ("zskd.low", "zskd.high")
        ]
        if (ends[0] >= ends[1]).any():
            raise UnsupportedTeacherError("file metadata zskd.low: expected to be below zskd.high everywhere")
        return (ends[0], ends[1]), "file metadata", False
    if not given and (seen := _from_graph(shape, dtype, found)) is not None:
        return seen
    if "input_range" in given:
        low, high = _pair(given["input_range"])
    elif dtype in PIXELS:
        low, high = PIXELS[dtype]
        sources.add("type of the input")
    elif given:
        low, high = 0.0, 1.0
        sources.add("default range 0..1")
    else:
        low, high = (0.0, 1.0) if len(shape) > 2 else (-2.0, 2.0)
        sources.add("default: nothing in the file says")
    mean = _per_channel(given.get("mean", [0.0]), channels, "mean")
    std = _per_channel(given.get("std", [1.0]), channels, "std")
    if (std <= 0).any():
        raise UsageError(f"std {std.tolist()}: expected positive numbers")
    assumed = not given and dtype not in PIXELS
    return ((low - mean) / std, (high - mean) / std), " and ".join(sorted(sources)), assumed


def _from_graph(shape: tuple[int, ...], dtype: ir.DataType, found: FirstLayers) -> tuple[Bounds, str, bool] | None:
    """Bounds that scaling at the start of the graph implies."""
    if dtype in PIXELS:
        return None
    seen: tuple[object, object] | None = found.quantised
    if seen is None:
        seen = found.image_range() if len(shape) > 1 else found.standardised_range()
    if seen is None:
        return None
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), shape[:1]) for end in seen)
    return (low, high), f"{'scaling' if found.quantised is None else 'quantisation'} at {found.node}", False


def _numbers_of(bounds: np.ndarray, shape: tuple[int, ...]) -> tuple[float, ...]:
    """One number for each channel; a single one for a vector whose features all have the same."""
    numbers = tuple(map(float, bounds))
    return numbers[:1] if len(shape) == 1 and len(set(numbers)) == 1 else numbers


def _pair(values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not np.isfinite(values).all() or values[0] >= values[1]:
        raise UsageError(f"input range {list(values)}: expected the lowest and the highest value, such as 0,255")
    return float(values[0]), float(values[1])
