"""What a thinned graph costs, before any channel is chosen: the cost depends on the number of channels alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from zskd_onnx.export.onnx import describe_teacher
from zskd_onnx.students.describe import measure
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.students.thinning.feeds import file_batch
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.remove import remove
from zskd_onnx.students.thinning.select_channels import Widths
from zskd_onnx.students.thinning.thin import random_feeds
from zskd_onnx.students.thinning.widths import removed_channels
from zskd_onnx.system.latency import latency_conditions, median_latency
from zskd_onnx.teacher.teacher import Teacher

RUN_METADATA = 512
"""Bytes for what a run writes into its student: digests, and names of recipe and architecture."""


class Quantity(ABC):
    """A figure of thinned graphs, which falls with their widths.

    Attributes:
        teacher: whose graph is thinned.
        groups: its groups of channels.
        unit: behind a number, with a space before it.
        conditions: how the figure is measured, in words for the end of a clause.
    """

    unit = ""
    conditions = ""

    def __init__(self, teacher: Teacher, groups: ChannelGroups) -> None:
        self.teacher = teacher
        self.groups = groups

    def of_teacher(self) -> float:
        """The figure of the graph with all channels."""
        return self.without(set())

    def of(self, widths: Widths) -> float:
        """The figure of a graph; ``widths``: name of each group -> number of channels that remain."""
        return self.without(removed_channels(self.groups.groups, widths))

    @abstractmethod
    def without(self, removed: set[int]) -> float:
        """The figure of the graph without these channels."""

    def number(self, value: float) -> str:
        """A figure for people."""
        return f"{math.floor(value):,}"

    def in_words(self, value: float) -> str:
        """A figure with its unit."""
        return f"{self.number(value)}{self.unit}"


class Parameters(Quantity):
    """Number of weights that are trained."""

    unit = " parameters"

    def __init__(self, teacher: Teacher, groups: ChannelGroups) -> None:
        super().__init__(teacher, groups)
        scores = OnnxStudent(remove(groups, set()), teacher).scores
        self._weights = [scores.initializers[key] for key, _ in scores.named_parameters()]

    def without(self, removed: set[int]) -> float:
        masks = self.groups.masks(removed)
        return sum(self.groups.size(name, masks) for name in self._weights)


class MultiplyAdds(Quantity):
    """Multiply-adds of one sample."""

    unit = " multiply-adds per sample"

    def without(self, removed: set[int]) -> float:
        student = OnnxStudent(remove(self.groups, removed), self.teacher)
        return measure(student, self.teacher.domain.shape).multiply_adds


class FileSize(Quantity):
    """Bytes of the student's file, at most."""

    unit = " bytes"

    def of_teacher(self) -> float:
        return self.teacher.source.size

    def without(self, removed: set[int]) -> float:
        described = describe_teacher(self.teacher, {})
        metadata = sum(len(f"{key}{value}".encode()) + 8 for key, value in described.items())
        return remove(self.groups, removed).ByteSize() + metadata + RUN_METADATA


class Latency(Quantity):
    """Median seconds of one batch in onnxruntime on the CPU of this machine."""

    def __init__(self, teacher: Teacher, groups: ChannelGroups) -> None:
        super().__init__(teacher, groups)
        self.conditions = f" in onnxruntime ({latency_conditions(file_batch(teacher) or 1)})"

    def without(self, removed: set[int]) -> float:
        feeds = random_feeds(self.teacher, file_batch(self.teacher) or 1)
        return median_latency(remove(self.groups, removed).SerializeToString(), feeds)

    def number(self, value: float) -> str:
        return f"{1000 * value:.3g} ms"
