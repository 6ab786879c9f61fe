"""The report of a folder, which may be that of a run or of a sweep."""

from __future__ import annotations

from pathlib import Path

from zskd_onnx.pipeline.run_report import write_run_report
from zskd_onnx.sweeps.recorded_sweep import JSON
from zskd_onnx.sweeps.sweep_report import write_sweep_report


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the output folder of a finished run or of a sweep.

    The page is made from the files in the folder alone, and needs no other file.

    Args:
        folder: of the run or the sweep.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder has neither, or a file is damaged.
    """
    path = Path(folder)
    return write_sweep_report(path) if (path / JSON).is_file() else write_run_report(path)
