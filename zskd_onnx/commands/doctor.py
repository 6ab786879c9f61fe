"""``doctor``: this installation."""

from __future__ import annotations

from zskd_onnx.commands.options import FormatOption
from zskd_onnx.terminal import Format, print_json, print_table, reports_errors


@reports_errors
def doctor(format: FormatOption = Format.TEXT) -> None:
    """Show versions, devices and optional parts of this installation."""
    from zskd_onnx.doctor import examine

    facts = examine()
    if format == Format.JSON:
        print_json(facts)
    else:
        print_table({name: str(value) for name, value in facts.items()})
