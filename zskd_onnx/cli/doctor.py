"""``doctor``: versions and devices of an installation."""

from __future__ import annotations

from zskd_onnx.cli.results import print_result
from zskd_onnx.cli.shared import Output, with_shared_options


@with_shared_options
def doctor(printed: Output) -> None:
    """Show versions, devices and optional parts of this installation.

    Examples:
      zskd-onnx doctor
      zskd-onnx doctor --format json

    Exit codes:
      0  success
    """
    from zskd_onnx.pipeline.doctor import examine

    facts = examine()
    print_result(facts, {name: str(value) for name, value in facts.items()}, printed.format)
