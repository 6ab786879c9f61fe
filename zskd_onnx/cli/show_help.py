"""``help``: the help page of a command."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import typer

from zskd_onnx.errors import UsageError


def show_help(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="The command, such as recipes validate.")
    ] = None,
) -> None:
    """Show the help of COMMAND, or the list of commands.

    Examples:
      zskd-onnx help
      zskd-onnx help compress
      zskd-onnx help recipes validate

    Exit codes:
      0  success
      2  no such command
    """
    at: Any = context.parent
    for name in command or []:
        commands = getattr(at.command, "commands", {})
        if name not in commands:
            nearest = difflib.get_close_matches(name, commands, 1)
            expected = ", ".join(commands) or "no further words"
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"expected {expected}"
            raise UsageError(f"{at.command_path}: no command '{name}'; {hint}")
        at = at.command.context_class(commands[name], info_name=name, parent=at, **commands[name].context_settings)
    typer.echo(at.get_help())
