"""Progress bars in a notebook."""

from __future__ import annotations

import pytest

from zskd_onnx import Event, NotebookProgress


def test_bars_show_stages_figures_and_the_latest_note(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    pages: list[str] = []

    class Handle:
        def update(self, content: object) -> None:
            pages.append(str(vars(content)["data"]))

    def show(content: object, display_id: bool) -> Handle:
        pages.append(str(vars(content)["data"]))
        return Handle()

    monkeypatch.setattr(display, "display", show)
    progress = NotebookProgress()
    progress(Event("note", "teacher", "input 'x': <b>NCHW</b>", time=0.0))
    progress(Event("progress", "synthesis", completed=0, total=100, time=10.0))
    progress(Event("progress", "synthesis", completed=50, total=100, figures={"held_out_loss": 0.12345}, time=20.0))
    assert "&lt;b&gt;" in pages[0]  # text of files is no markup
    progress(Event("done", "synthesis", "100 samples", time=30.0))
    assert '<progress value="50" max="100">' in progress._bar(
        "synthesis", Event("progress", "synthesis", "", 50, 100, time=20.0)
    )
    assert "about 10 s left" in progress._bar("synthesis", Event("progress", "synthesis", "", 50, 100, time=20.0))
    assert "held out loss 0.1235" in progress._bar(
        "synthesis", Event("progress", "synthesis", "", 50, 100, {"held_out_loss": 0.12345}, 20.0)
    )
