"""Values as pages show them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from zskd_onnx.report.page import count, duration, percent, picture_uri, size, times
from zskd_onnx.report.shown_names import short_name, shown_names


def test_numbers_for_people() -> None:
    assert percent(0.98765) == "98.77\N{NO-BREAK SPACE}%"
    assert percent(None) == "-"
    assert [size(n) for n in (999, 33_138, 5_000_000, 2 * 10**9)] == ["999 bytes", "33.1 kB", "5.0 MB", "2.0 GB"]
    assert [duration(s) for s in (4.21, 119.9, 121, 9000)] == ["4.2 s", "119.9 s", "2 min", "2.5 h"]
    assert count(1_234_567) == "1,234,567"
    assert [times(*pair) for pair in ((8, 2), (2, 8), (100, 101), (0, 0), (5, 0))] == [
        *("4.0 times less", "4.0 times more", "about the same", "-", "-"),
    ]


@pytest.mark.parametrize(("side", "kind"), [(8, "PNG"), (64, "JPEG")])
def test_a_picture_in_a_page(side: int, kind: str) -> None:
    pixels = np.full((side, side, 3), (10, 120, 240), np.uint8)
    head, _, content = picture_uri(pixels).partition(",")
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert head == f"data:image/{kind.lower()};base64"
    assert picture.format == kind
    assert np.abs(np.asarray(picture).astype(int) - pixels).max() <= 3


def test_names_fit_on_a_line() -> None:
    assert shown_names(None, 3) == ["0", "1", "2"]
    assert shown_names(["a\tb", "\x1b[1m"], 2) == ["a b", "[1m"]
    assert short_name("x" * 100) == "x" * 39 + "…"
    assert short_name("\ud800\u202e") == ""
