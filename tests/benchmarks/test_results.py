"""The results pages are up to date, and every run is valid."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def make_results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import make_results

    return make_results


def tables(page: str) -> list[list[str]]:
    """Return the lines of each Markdown table of a page: the header, the rule and the rows."""
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE)]


def test_every_run_is_valid(make_results: ModuleType) -> None:
    runs = make_results.load_runs()
    assert len(runs) > 1000
    assert [(run, make_results.problems(run)) for run in runs if make_results.problems(run)] == []


def test_the_pages_are_up_to_date(make_results: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_results.py", "--check"])
    assert make_results.main() == 0


def test_a_stale_page_fails_the_check_and_is_written_without_it(
    make_results: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "RESULTS.md"
    monkeypatch.setattr(make_results, "INTRODUCTIONS", {page: "Introduction."})
    monkeypatch.setattr(sys, "argv", ["make_results.py", "--check"])
    assert make_results.main() == 1
    assert "is stale; run python benchmarks/make_results.py" in capsys.readouterr().err
    assert not page.exists()
    monkeypatch.setattr(sys, "argv", ["make_results.py"])
    assert make_results.main() == 0
    assert "Introduction." in page.read_text(encoding="utf-8")


def test_the_page_has_at_most_eight_tables_of_about_25_rows(make_results: ModuleType) -> None:
    for page in make_results.pages().values():
        rows = [len(lines) - 2 for lines in tables(page)]
        assert 0 < len(rows) <= 8
        assert max(rows) <= 26


def test_every_row_has_as_many_cells_as_its_header(make_results: ModuleType) -> None:
    for page in make_results.pages().values():
        for lines in tables(page):
            assert len({line.count("|") for line in lines}) == 1


def test_a_current_run_that_no_table_shows_is_an_error(
    make_results: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [*make_results.load_runs(), {**make_results.load_runs()[0], "table": "another", "status": "current"}]
    monkeypatch.setattr(make_results, "load_runs", lambda: runs)
    with pytest.raises(ValueError, match="no table shows the current run"):
        make_results.pages()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 0.99, "agreement": 101}, "agreement is 101; expected percent"),
        ({"status": "old"}, "status is 'old'"),
        ({"overrides": ["distillation.epochs"]}, "overrides must be strings of the form key=value"),
        ({"seed": "0"}, "field 'seed' is '0'; expected int or NoneType"),
        ({"colour": "red"}, "field 'colour' is unknown"),
        ({"status": "not run", "accuracy": 99.0}, "a run of status 'not run' has an accuracy"),
    ],
)
def test_an_invalid_run_is_reported(make_results: ModuleType, change: dict[str, object], message: str) -> None:
    run = {**make_results.load_runs()[0], **change}
    assert any(message in problem for problem in make_results.problems(run))


def test_mean_and_deviation_are_those_of_the_sample(make_results: ModuleType) -> None:
    from result_tables import mean_and_deviation

    assert mean_and_deviation([99.12, 99.11, 99.21]) == "99.15 ± 0.06"
    assert mean_and_deviation([99.28]) == "99.28"
    assert mean_and_deviation([]) == ""


def test_each_decision_note_has_a_title_and_a_small_table() -> None:
    notes = sorted((BENCHMARKS.parent / "docs" / "decisions").glob("[0-9]*.md"))
    assert len(notes) >= 12
    for note in notes:
        text = note.read_text(encoding="utf-8")
        assert text.startswith("# "), note.name
        assert [len(lines) - 2 <= 6 for lines in tables(text)] == [True], note.name
