"""``doctor``: this installation."""

from __future__ import annotations

from zskd_onnx.cli.options import FormatOption
from zskd_onnx.cli.printing import Format, print_json, print_table, reports_errors


@reports_errors
def doctor(format: FormatOption = Format.TEXT) -> None:
    """Show versions, devices and optional parts of this installation."""
    from zskd_onnx.pipeline.doctor import examine

    facts = examine()
    if format == Format.JSON:
        print_json(facts)
    else:
        print_table({name: str(value) for name, value in facts.items()})
