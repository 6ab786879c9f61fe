"""Positions of axes that can only be removed together.

A *position* is one index of one axis of one value. Positions that must stay or go together are joined; the sets that
result are *channels*. The output channel 3 of a convolution, for example, is position 3 of axis 0 of its weight, of its
bias, of axis 1 of its output, of everything that is added to it, and of axis 1 of the weight that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

UNSET = -9
"""Mark of a position that no node has made or fixed."""

Ids = np.ndarray
"""Numbers of positions, one-dimensional."""


@dataclass(frozen=True)
class Reader:
    """An input of a node that is summed or averaged over an axis.

    Attributes:
        node: index of the node in the graph.
        input: position among the node's inputs.
        axis: the axis, not negative.
        mean: whether the node divides by the number of positions.
    """

    node: int
    input: int
    axis: int
    mean: bool = False


class Channels:
    """Disjoint sets of positions (a union-find structure).

    Attributes:
        readers: where channels end, because a node sums over them.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._first: dict[tuple[str, int], tuple[int, int]] = {}
        count = 0
        for value, shape in shapes.items():
            for axis, size in enumerate(shape):
                self._first[value, axis] = (count, size)
                count += size
        self._parent = np.arange(count)
        self._produced = np.zeros(count, dtype=bool)
        self._frozen = np.full(count, UNSET)
        self._producer = np.full(count, UNSET)
        self.readers: list[Reader] = []

    def axes(self) -> list[tuple[str, int]]:
        """All axes, as pairs of a value and an index."""
        return list(self._first)

    def ids(self, value: str, axis: int) -> Ids:
        """The positions of an axis, in order."""
        first, size = self._first[value, axis]
        return np.arange(first, first + size)

    def roots(self, ids: Ids) -> Ids:
        """For each position, the number of its channel."""
        roots = self._parent[ids]
        while not np.array_equal(roots, following := self._parent[roots]):
            roots = following
        self._parent[ids] = roots
        return roots

    def join(self, first: Ids, second: Ids) -> None:
        """Put each position of ``first`` into one channel with the position of ``second`` at the same place."""
        a, b = self.roots(first), self.roots(second)
        produced = self._produced[a] | self._produced[b]
        while not np.array_equal(a, b):
            np.minimum.at(self._parent, np.maximum(a, b), np.minimum(a, b))
            a, b = self.roots(a), self.roots(b)
        np.logical_or.at(self._produced, a, produced)

    def produce(self, ids: Ids, node: int) -> None:
        """Mark positions as made by a node's weights."""
        self._produced[self.roots(ids)] = True
        self._producer[ids] = node

    def freeze(self, ids: Ids, node: int) -> None:
        """Mark positions as fixed by a node; their channels stay."""
        self._frozen[ids] = np.where(self._frozen[ids] == UNSET, node, self._frozen[ids])

    def are_produced(self, value: str, axis: int) -> bool:
        """Whether weights have made any position of an axis, among the nodes that were seen so far."""
        return bool(self._produced[self.roots(self.ids(value, axis))].any())

    def owners(self) -> tuple[dict[int, int], dict[int, int]]:
        """Channel -> the first node that makes it, and channel -> the first node that fixes it, if one does."""
        return self._lowest(self._producer), self._lowest(self._frozen)

    def _lowest(self, marks: np.ndarray) -> dict[int, int]:
        ids = np.flatnonzero(marks != UNSET)
        lowest: dict[int, int] = {}
        for root, mark in zip(self.roots(ids).tolist(), marks[ids].tolist(), strict=True):
            lowest[root] = min(mark, lowest.get(root, mark))
        return lowest
