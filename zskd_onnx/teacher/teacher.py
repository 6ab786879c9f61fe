"""The teacher: the classifier that a student replaces."""

from __future__ import annotations

from typing import Any

from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.graphs import Graphs
from zskd_onnx.teacher.signature.inventory import Inventory
from zskd_onnx.teacher.signature.output import Labels, Names


class Teacher(Classifier):
    """A classifier, and what a student in its place must reproduce.

    Attributes:
        inventory: layers and operators of the file.
        labels: outputs that name the predicted class.
        zipped: keys of the output where it is a ZipMap, otherwise None.
    """

    def __init__(
        self,
        graphs: Graphs,
        *,
        inventory: Inventory,
        labels: tuple[Labels, ...],
        zipped: Names | None,
        **classifier: Any,
    ) -> None:
        """``classifier``: further arguments of ``Classifier``."""
        super().__init__(graphs, **classifier)
        self.inventory = inventory
        self.labels = labels
        self.zipped = zipped
