"""The report of a sweep, from its folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import SMALL
from zskd_onnx import Sweep, UsageError, sweep, write_report
from zskd_onnx.report.page import percent


@pytest.fixture(scope="module")
def finished(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two settings, and a recipe that needs what the teacher lacks."""
    return sweep(
        digits_file,
        tmp_path_factory.mktemp("swept") / "out",
        recipes=["zskd", "deep-inversion"],
        settings=[*(part for part in SMALL if "epochs" not in part), "distillation.epochs=1,2"],
    )


def test_a_row_for_each_run(finished: Sweep) -> None:
    page = (finished.folder / "report.html").read_text()
    assert "4 runs in 4 settings, 2 failed." in page
    assert "All with synthesis.count=300, synthesis.iterations=5, held_out=100, student=cnn." in page
    assert page.count("zskd, distillation.epochs=1<") == 2
    assert page.count("needs batch-normalisation statistics") == 2
    for row in finished.rows[:2]:
        assert row.folder is not None
        assert percent(row.agreement) in page
        link = f"runs/{Path(row.folder).name}/report.html"
        assert f'href="{link}"' in page
        assert (finished.folder / link).is_file()
    assert page.count("data:image/svg+xml") == 2
    assert page.count("http") == page.count("http-equiv")


def test_it_is_made_again_where_the_folder_has_moved(finished: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    (folder / "report.html").unlink()
    shutil.rmtree(folder / "runs")
    page = write_report(folder).read_text()
    assert "href=" not in page.replace('<link rel="icon" href="data:,">', "")
    assert page.count("zskd, distillation.epochs=1<") == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 1, "runs": []}',
        '{"schema_version": 2, "runs": []}',
        '{"schema_version": 2, "runs": [1]}',
    ],
)
def test_a_damaged_table(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UsageError, match=r"sweep\.json: damaged, or of another version") as raised:
        write_report(tmp_path)
    assert "\n" not in str(raised.value)


def test_names_in_the_table_are_no_markup(finished: Sweep, tmp_path: Path) -> None:
    content = json.loads((finished.folder / "sweep.json").read_text())
    content["runs"][0] |= {"recipe": "<script>1</script>", "folder": "../../../etc", "error": "<b>bold</b>"}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    page = write_report(tmp_path).read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert "etc" not in page
    content["runs"][0]["agreement"] = "all"
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"0\.agreement: Input should be a valid number"):
        write_report(tmp_path)
