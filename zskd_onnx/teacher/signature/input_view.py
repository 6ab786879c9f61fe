"""The input as later values hold it: which of its axes and positions they have, and how they scale them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

BATCH = -1
"""Size of the batch axis, which varies."""

POSITIONS_LIMIT = 1 << 17
"""Largest number of positions that are listed one by one."""


@dataclass(frozen=True)
class Axis:
    """An axis of a value, and where its numbers come from.

    Attributes:
        origin: the axis of the input, 0 for the batch; None for an axis that merges or splits others.
        size: ``BATCH`` for the batch, None if unknown.
        positions: for each index the position on the input's axis; None where values are resampled or padded.
    """

    origin: int | None
    size: int | None
    positions: Sequence[int] | None = None

    def take(self, part: slice | Sequence[int]) -> Axis | None:
        """Return the axis with some of its positions; None where that cannot be followed."""
        if self.size is None or self.size == BATCH:
            return None
        every = range(self.size) if self.positions is None else self.positions
        if isinstance(part, slice):
            positions: Sequence[int] = every[part]
        elif len(part) <= POSITIONS_LIMIT and all(-self.size <= i < self.size for i in part):
            positions = tuple(every[i] for i in part)
        else:
            return None
        return Axis(self.origin, len(positions), None if self.positions is None else positions)


@dataclass(frozen=True)
class View:
    """A value that is computed from the input x by moving and scaling: y = scale * x + shift.

    Methods return None where the result would not be such a value any more.

    Attributes:
        axes: of the value.
        scale, shift: numbers that broadcast over the axes; at most one axis has several.
        removed: axes of size 1 that the value lost; an inserted axis of size 1 takes the place of a single one.
        scaled_at: the first node that changes values, as messages name it; empty without one.
    """

    axes: tuple[Axis, ...]
    scale: np.ndarray
    shift: np.ndarray
    removed: tuple[Axis, ...] = ()
    scaled_at: str = ""

    @classmethod
    def of_input(cls, sample: Sequence[int]) -> Self:
        """Return the input itself.

        Args:
            sample: shape of one sample in the file's layout.
        """
        axes = (Axis(0, BATCH), *(Axis(i, size, range(size)) for i, size in enumerate(sample, 1)))
        ones = (1,) * len(axes)
        return cls(axes, np.ones(ones), np.zeros(ones))

    def has_shape(self, shape: Sequence[int]) -> bool:
        """Return whether one sample of an image or volume has this shape, with or without a batch axis of 1."""
        sizes = [axis.size for axis in self.axes[1:]]
        return len(sizes) > 2 and list(shape) in (sizes, [1, *sizes])

    def apply(self, factor: np.ndarray, term: np.ndarray, node: str) -> View | None:
        """Return the value times ``factor`` plus ``term``, which broadcast as ONNX broadcasts them."""
        shapes = (self.scale.shape, factor.shape, term.shape)
        shape = np.broadcast_shapes(*shapes)
        several = [i for i, size in enumerate(shape) if size > 1]
        if len(shape) > len(self.axes) or len(several) > 1:
            return None
        if any(self.axes[i].size != shape[i] or self.axes[i].positions is None for i in several):
            return None
        changes = not ((factor == 1).all() and (term == 0).all())
        scale, shift = np.broadcast_arrays(self.scale * factor, self.shift * factor + term)
        name = self.scaled_at or (node if changes else "")
        return replace(self, scale=scale, shift=shift, scaled_at=name)

    def arrange(self, sources: Sequence[int | Axis]) -> View | None:
        """Return the value with its axes in another order, without some, and with new ones of size 1 or without origin.

        Args:
            sources: for each new axis the index of the old one, or the axis itself if it is new.
        """
        old = [source for source in sources if isinstance(source, int)]
        lost = [i for i in range(len(self.axes)) if i not in old]
        if any(self.scale.shape[i] > 1 for i in lost):
            return None
        shape = [self.scale.shape[s] if isinstance(s, int) else 1 for s in sources]
        scale, shift = (a.transpose([*old, *lost]).reshape(shape) for a in (self.scale, self.shift))
        axes = tuple(self.axes[s] if isinstance(s, int) else s for s in sources)
        return replace(self, axes=axes, scale=scale, shift=shift)

    def squeeze(self, dropped: Sequence[int]) -> View | None:
        """Return the value without some axes of size 1."""
        if any(self.axes[i].size != 1 for i in dropped):
            return None
        view = self.arrange([i for i in range(len(self.axes)) if i not in dropped])
        return view and replace(view, removed=(*self.removed, *(self.axes[i] for i in dropped)))

    def unsqueeze(self, places: Sequence[int]) -> View | None:
        """Return the value with new axes of size 1.

        Args:
            places: indices of the new axes in the result.
        """
        restored = len(places) == len(self.removed) == 1
        new = self.removed[0] if restored else Axis(None, 1)
        sources: list[int | Axis] = list(range(len(self.axes)))
        for place in sorted(places):
            sources.insert(place, new)
        view = self.arrange(sources)
        return view and replace(view, removed=() if restored else self.removed)

    def reshape(self, sizes: Sequence[int | None]) -> View | None:
        """Return the value with another shape; axes in the middle that are merged or split lose their origin.

        Args:
            sizes: of the new axes; ``BATCH`` for the batch, None if unknown.
        """
        old = [i for i, axis in enumerate(self.axes) if axis.size != 1]
        new = [j for j, size in enumerate(sizes) if size != 1]
        kept = {}
        while old and new and self.axes[old[0]].size == sizes[new[0]]:
            kept[new.pop(0)] = old.pop(0)
        while old and new and self.axes[old[-1]].size == sizes[new[-1]]:
            kept[new.pop()] = old.pop()
        units = [i for i, axis in enumerate(self.axes) if axis.size == 1]
        added = [j for j, size in enumerate(sizes) if size == 1]
        lost = (*self.removed, *(self.axes[i] for i in units))
        unit = lost[0] if len(lost) == len(added) == 1 else Axis(None, 1)
        view = self.arrange(
            [kept[j] if j in kept else unit if size == 1 else Axis(None, size) for j, size in enumerate(sizes)]
        )
        return view and replace(view, removed=() if added else lost)

    def take(self, index: int, part: slice | Sequence[int]) -> View | None:
        """Return some of the positions of an axis."""
        axis = self.axes[index].take(part)
        if axis is None:
            return None
        several = self.scale.shape[index] > 1
        which = (slice(None),) * index + (part if isinstance(part, slice) else list(part),)
        scale, shift = (a[which] if several else a for a in (self.scale, self.shift))
        return replace(self, axes=(*self.axes[:index], axis, *self.axes[index + 1 :]), scale=scale, shift=shift)

    def blur(self, index: int, size: int | None) -> View | None:
        """Return the value with an axis padded or resampled to a size."""
        if self.axes[index].size == BATCH or self.scale.shape[index] > 1:
            return None
        axis = Axis(self.axes[index].origin, size)
        return replace(self, axes=(*self.axes[:index], axis, *self.axes[index + 1 :]))

    def to_input(self, numbers: np.ndarray, sample: Sequence[int]) -> np.ndarray | None:
        """Return numbers that broadcast over the value in the order of the input's channels: one, or one per channel.

        None for numbers along an axis that is neither the input's first nor its last. Channels that the value
        does not have get the number of the first that it has.
        """
        several = [i for i, size in enumerate(numbers.shape) if size > 1]
        if not several:
            return numbers.reshape(-1)
        axis = self.axes[several[0]]
        if axis.origin not in (1, len(sample)) or axis.positions is None:
            return None
        ordered = np.full(sample[axis.origin - 1], numbers.flat[0])
        ordered[list(axis.positions)] = numbers.reshape(-1)
        return ordered


def join(views: Sequence[View], index: int) -> View | None:
    """Return the concatenation of values along an axis, or None."""
    first = views[0]
    joined = [view.axes[index] for view in views]
    sizes = [axis.size or 0 for axis in joined]
    if min(sizes) < 1 or sum(sizes) > POSITIONS_LIMIT or len({_without(view.axes, index) for view in views}) > 1:
        return None
    arrays = [(view.scale, view.shift) for view in views]
    along = any(scale.shape[index] > 1 for scale, _ in arrays)
    if not along and all(np.array_equal(a, b) for pair in arrays for a, b in zip(pair, arrays[0], strict=True)):
        scale, shift = arrays[0]
    elif any(size > 1 for scale, _ in arrays for size in _without(scale.shape, index)):
        return None
    else:
        scale, shift = (
            np.concatenate(
                [a if a.shape[index] > 1 else a.repeat(n, index) for a, n in zip(parts, sizes, strict=True)], index
            )
            for parts in zip(*arrays, strict=True)
        )
    origin = joined[0].origin if len({axis.origin for axis in joined}) == 1 else None
    lists = [axis.positions for axis in joined if axis.positions is not None]
    positions = tuple(p for places in lists for p in places) if len(lists) == len(joined) else None
    axes = (*first.axes[:index], Axis(origin, sum(sizes), positions), *first.axes[index + 1 :])
    name = next((view.scaled_at for view in views if view.scaled_at), "")
    return replace(first, axes=axes, scale=scale, shift=shift, scaled_at=name)


def _without(items: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return (*items[:index], *items[index + 1 :])
