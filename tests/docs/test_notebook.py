"""The notebook of the documentation runs, shows progress, is cancelled, resumed, and displays its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def html(cell: Any) -> list[str]:
    return [output["data"]["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]


def shown(cell: Any) -> str:
    """What the cell prints, and the plain text of its value."""
    texts = [output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_the_notebook(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _, stopped, finished, used = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert '<progress value="3000" max="3000"></progress> synthesis' in html(stopped)[0]
    assert "stopped:" in shown(stopped)
    assert "the state of training kept in notebook-out" in shown(stopped)
    bars, result = html(finished)
    assert "distillation" in bars
    assert "confident agreement" in result
    assert float(shown(used)) > 0.9
    assert (tmp_path / "notebook-out" / "student.onnx").is_file()
