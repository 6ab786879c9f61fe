"""``report``: the page of a finished run or sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zskd_onnx.cli.choices import Format
from zskd_onnx.cli.results import print_json
from zskd_onnx.cli.shared import Output, with_shared_options
from zskd_onnx.system.files import expect_folder


@with_shared_options
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The output folder of a finished run or of a sweep.")
    ],
    *,
    printed: Output,
) -> None:
    """Write report.html into FOLDER again, from the files of the run or sweep alone.

    The page needs no other file and no network. A run and a sweep write it at their end.

    Examples:
      zskd-onnx report zskd-out
      zskd-onnx report zskd-sweep

    Exit codes:
      0  success
      2  the folder holds no finished run, or a damaged one
    """
    expect_folder(folder, "a finished run or a sweep")

    from zskd_onnx.sweeps.write_report import write_report

    page = write_report(folder)
    if printed.format == Format.TEXT:
        print(page)
    else:
        print_json({"report": str(page)})
