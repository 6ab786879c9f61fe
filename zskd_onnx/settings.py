"""The base of everything a recipe holds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Requirement = Literal["head", "second_last", "convolution", "batch_norm", "data"]
"""A final fully connected layer of the teacher, one before it, a convolution, statistics of batch normalisation; and
real samples from the user."""


class Settings(BaseModel):
    """Validated, immutable, and closed: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def needs(self) -> dict[Requirement, str]:
        """What must be there for these settings, and the field that asks for it."""
        return {}
