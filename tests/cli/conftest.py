"""Snapshots of what the command line prints.

A snapshot is a text file in ``tests/cli/snapshots``. After a change of help texts, tables or progress,
write them anew and look at the difference:

    ZSKD_RENEW=1 python -m pytest -n 0 tests/cli
    git diff tests/cli zskd_onnx/config/key_names.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"

RENEW = os.environ.get("ZSKD_RENEW") == "1"

WIDTHS = (60, 80, 120)
"""Widths of the terminals of snapshots, in characters."""

Snapshot = Callable[[str, str], None]


@pytest.fixture
def snapshot() -> Snapshot:
    """Compares a text with a file; ``ZSKD_RENEW=1`` writes the file."""

    def check(name: str, text: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        if RENEW:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; tests/cli/conftest.py says how to renew it"

    return check


def assert_whole(text: str, width: int) -> None:
    """Nothing is cut, and every line fits."""
    assert "…" not in text
    assert "..." not in text.replace("COMMAND ...", "")
    assert max(map(len, text.splitlines())) <= width
