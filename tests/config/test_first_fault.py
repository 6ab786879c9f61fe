"""Faults in one line."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from zskd_onnx.config.first_fault import first_fault


def test_the_first_fault_with_its_key() -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(dict[str, list[int]]).validate_python({"a": [1, "x"], "b": 2})
    assert first_fault(raised.value).startswith("a.1: Input should be a valid integer")
    assert first_fault(ValueError("two\n lines " + 300 * "x")) == ("two lines " + 300 * "x")[:200]
