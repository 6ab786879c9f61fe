"""A student whose architecture is an ONNX file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast

import onnx
from torch import Tensor, nn

from zskd_onnx.export.export import ExportedStudent, check_student, export_student
from zskd_onnx.importer.file.fixed_inputs import fixed_values
from zskd_onnx.importer.fx_graph import ImportedModel
from zskd_onnx.importer.write_back import with_weights
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.load import load_classifier
from zskd_onnx.teacher.teacher import Teacher


class OnnxStudent(nn.Module):
    """A trainable classifier from an ONNX file, in the place of a teacher.

    It takes samples (N, *shape) of the unit space and returns logits (N, K), as every student does. Trained, it is
    written as the file that it came from, with other weights.

    Attributes:
        scores: the graph up to the values before the final softmax, with parameters.
        domain: the teacher's input domain.
        batch: the batch size that the graph is bound to; None where any will do.
    """

    def __init__(self, model: onnx.ModelProto, teacher: Teacher) -> None:
        """
        Args:
            model: content of the file, with all weights inside.
            teacher: gives input domain, layout and fixed inputs.

        Raises:
            ZskdError: the file cannot be trained, or is no classifier of the teacher's classes.
        """
        super().__init__()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "student.onnx"
            path.write_bytes(model.SerializeToString())
            classifier = load_in_place(path, teacher)
        self.scores = cast(ImportedModel, classifier.graphs.scores)
        self.batch = classifier.batch
        self._model = model
        self._output = classifier.output
        self.domain = teacher.domain
        self._graphs = (classifier.graphs,)  # a tuple hides the other parts, which share all weights

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) in float32."""
        return self.logits_of(self._graphs[0].run(self.scores, self.domain.to_file(x)))

    def logits_of(self, scores: Tensor) -> Tensor:
        """Logits (N, K) in float32 from what ``scores`` computes."""
        return self._output.to_logits(scores.reshape(len(scores), -1)).float()

    def to_file(self) -> onnx.ModelProto:
        """The file with the weights as they are now."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        return with_weights(model, self.scores)


def to_checked_file(student: nn.Module, teacher: Teacher, opset: int, unit: Tensor) -> ExportedStudent:
    """A student as an ONNX model in the teacher's place: its own file, or an export; see ``export_student``.

    Raises:
        ZskdError, ParityError: as for ``export_student``.
    """
    if isinstance(student, OnnxStudent):
        return check_student(student.to_file(), student, teacher, unit)
    return export_student(student, teacher, opset, unit)


def load_in_place(path: Path, teacher: Teacher) -> Classifier:
    """A trainable classifier from a file that takes the teacher's inputs.

    Raises:
        ZskdError: the file cannot be trained, is no classifier, or lacks the teacher's output or inputs.
    """
    domain = teacher.domain
    return load_classifier(
        path,
        trainable=True,
        input_range=(min(domain.low), max(domain.high)),
        layout=domain.layout,
        input_shape=domain.file_shape(1)[1:],
        output_name=teacher.output.name,
        fix=fixed_values(teacher.source.proto, teacher.source.fixed),
    )
