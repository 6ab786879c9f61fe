"""The report in a real browser, on a phone and on a desk, on a light and a dark page."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import SMALL
from tests.pipeline.run_folders import with_classes
from tests.report.browser import Browser, needs_chromium, open_browser
from zskd_onnx import CompressionResult, compress, sweep, write_report

pytestmark = needs_chromium

WIDTHS = (400, 1400)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(
    finished: CompressionResult, digits_file: Path, digits_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Reports of a run with real samples, of many classes with hostile names, and of a sweep with a failed run."""
    home = tmp_path_factory.mktemp("pages")
    scored = compress(digits_file, home / "scored", overrides=SMALL, eval_data=digits_data)
    swept = sweep(
        digits_file,
        home / "sweep",
        recipes=["zskd", "deep-inversion"],
        settings=[*SMALL[:3], "distillation.epochs=1,2"],
    )
    return {
        "scored": scored.student.parent / "report.html",
        "many": write_report(with_classes(finished, home / "many", 100)),
        "sweep": swept.folder / "report.html",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["scored", "many", "sweep"])
def test_nothing_is_fetched_and_nothing_overflows(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    visit = browser.visit(pages[name], width, scheme=scheme)
    folder = Path(os.environ.get("ZSKD_SCREENSHOTS", tmp_path))
    (folder / f"{name}-{width}-{scheme}.png").write_bytes(visit.screenshot)
    assert visit.requests == [pages[name].as_uri()]
    assert visit.messages == []
    assert visit.overflow == 0
    corner = Image.open(io.BytesIO(visit.screenshot)).convert("L").getpixel((3, 3))
    assert (corner > 128) == (scheme == "light")


def test_what_the_tests_look_for_would_be_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<meta charset=utf-8><meta name=viewport content='width=device-width'><div style='width: 900px'>wide</div><img src='http://127.0.0.1:9/x.png'>"
        "<script>console.error('spoken')</script>"
    )
    visit = browser.visit(page, 400)
    assert visit.overflow > 400
    assert "http://127.0.0.1:9/x.png" in visit.requests
    assert any("spoken" in message for message in visit.messages)
