"""JSON of unknown origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from zskd_onnx.system.bounded_json import read_json


def test_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, -2.5, 9223372036854775807, 1e38, "x", null]}')
    assert read_json(path) == {"a": [1, -2.5, 2**63 - 1, 1e38, "x", None]}


@pytest.mark.parametrize("number", ["9223372036854775808", "1" * 5000, "1e39", "-1e400"])
def test_numbers_out_of_range(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"[{number}]")
    with pytest.raises(ValueError, match="is out of range"):
        read_json(path)
