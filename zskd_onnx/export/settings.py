"""How the student is delivered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from zskd_onnx.settings import Settings


class Deployment(Settings):
    """Fields of a recipe's ``deployment`` section.

    Attributes:
        opset: ONNX operator set of the student's file; torch writes 18 and converts to others,
            down to 16.
        min_agreement: least share of held-out impressions on which student and teacher name the
            same class; below it the run ends with a QualityError. 0 asks for nothing.
        min_accuracy: the same for accuracy on evaluation data.
    """

    opset: Annotated[int, Field(ge=16, le=24)] = 18
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.0
    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0
