"""Recipe fields of the export and the quality gates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zskd_onnx.metrics.gates import Gates
from zskd_onnx.settings import Settings

Form = Literal["int8", "fp16"]
"""The numbers of a quantised file: 8-bit integers, or floating-point numbers of 16 bits."""


class Deployment(Settings):
    """How the student is exported, and the quality that a run must reach.

    Attributes:
        opset: version of the ONNX operator set in the student's file. torch writes 18 and converts it
            to other versions, down to 16. Change it if the runtime that will load the file needs
            another version.
        min_agreement: quality gate: smallest share of held-out impressions for which student and
            teacher predict the same class. Below it the run fails with a QualityError. 0 turns the gate
            off.
        min_accuracy: quality gate: smallest accuracy of the student on the evaluation data. Below it
            the run fails with a QualityError. 0 turns the gate off.
        max_accuracy_drop: quality gate: largest difference of the teacher's accuracy and the student's on the
            evaluation data. null turns the gate off.
        max_latency_ratio: quality gate: largest ratio of the student's median latency to the teacher's in
            onnxruntime. null turns the gate off.
        quantize: "int8" writes a second student with 8-bit integers beside the first one, "fp16" one in half precision.
            Both have the same interface. None writes none.
        min_quantized_agreement: quality gate: smallest share of the held-out samples of which the student is confident
            for which the quantised student predicts the same class. An int8 student below it is made again from equalised and
            fine-tuned weights; if none meets the gate, the run fails with a QualityError. 0 turns both off.
    """

    opset: Annotated[int, Field(ge=16, le=24)] = 18
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.0
    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_accuracy_drop: Annotated[float, Field(ge=-1, le=1)] | None = None
    max_latency_ratio: Annotated[float, Field(gt=0)] | None = None
    quantize: Form | None = None
    min_quantized_agreement: Annotated[float, Field(ge=0, le=1)] = 0.95

    @property
    def gates(self) -> Gates:
        """The quality gates of the float student."""
        return Gates(self.min_agreement, self.min_accuracy, self.max_accuracy_drop, self.max_latency_ratio)
