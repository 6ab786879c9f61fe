"""The options that name a size, cost or latency in place of a student."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from zskd_onnx.cli.help_page import STUDENT


def _option(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel=STUDENT)


@dataclass(frozen=True)
class Targets:
    """Limits of which one may be set."""

    target_params: Annotated[
        str | None,
        _option(
            "N|PERCENT", "Thin the teacher's graph to this many parameters, such as 60k or 25%; not with --student."
        ),
    ] = None
    target_macs: Annotated[
        str | None, _option("N|PERCENT", "The same for the multiply-adds of one sample, such as 10M or 25%.")
    ] = None
    target_size: Annotated[
        str | None, _option("SIZE|PERCENT", "The same for the size of the student's file, such as 200kB or 25%.")
    ] = None
    target_latency: Annotated[
        str | None,
        _option("TIME|PERCENT", "The same for the median latency in onnxruntime on this CPU, such as 2ms or 50%."),
    ] = None

    def options(self, student: str | None) -> dict[str, str | None]:
        """The keyword arguments of ``compress``.

        Raises:
            UsageError: a limit cannot be read, there are several, or a student beside one.
        """
        from zskd_onnx.students.thinning.target import requested_target

        texts: dict[str, str | None] = asdict(self)
        requested_target(student, **texts)
        return texts
