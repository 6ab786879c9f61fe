"""Recording of the blocks and features of a student that is an ONNX graph, for losses that compare more than logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zskd_onnx.importer.fx_graph import give, join, outputs_of, shape_of
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.teacher.graphs import mean_features
from zskd_onnx.teacher.probes.outputs import Outputs


class GraphRecorder:
    """Runs a student that is an ONNX graph, and returns its logits, the outputs of its blocks and its features.

    Attributes:
        features: number of inputs of the final fully connected layer. None if features are not recorded
            or the student does not end with such a layer.
    """

    def __init__(
        self, student: OnnxStudent, sample: Tensor, *, blocks: Sequence[str] = (), features: bool = False
    ) -> None:
        """
        Args:
            sample: one sample (1, *shape) of the unit space, on the student's device.
            blocks: names of the blocks' outputs.
            features: whether to record the input of the final fully connected layer.
        """
        self._student = student
        heads = student.head_inputs if features else ()
        with torch.no_grad():
            self._graph = join([student.scores, *heads], student.domain.to_file(sample))
        scores, *inputs = outputs_of(self._graph)
        values = [scores]
        self.features: int | None = None
        if inputs:
            shape = shape_of(inputs[0])
            assert shape is not None
            self.features = shape[1]
            with self._graph.graph.inserting_before(self._graph.graph.output_node()):
                values.append(self._graph.graph.call_function(mean_features, (inputs,)))
        by_name = {node.meta.get("value"): node for node in self._graph.graph.nodes}
        give(self._graph, [*values, *(by_name[name] for name in blocks)])

    def __call__(self, x: Tensor) -> Outputs:
        """Logits, blocks, and features or None, for samples (N, *shape) of the unit space."""
        scores, *values = self._graph(self._student.domain.to_file(x))
        features = None if self.features is None else values.pop(0).float()
        return Outputs(self._student.logits_of(scores), features=features, blocks=tuple(values))
