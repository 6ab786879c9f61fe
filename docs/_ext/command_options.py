"""Tables of command-line options and exit codes, made from the program's own commands.

``{command-options} COMMAND`` draws the usage line and the options of a command, such as ``compress`` or
``recipes list``, with one table for each panel of its help. ``{exit-codes} COMMAND`` draws its exit codes.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from tables import TableDirective


class CommandTable(TableDirective):
    """A directive about one command."""

    required_arguments = 1
    final_argument_whitespace = True

    def command(self) -> Any:
        """The command that the argument names."""
        import typer.main

        from zskd_onnx.cli.app import app

        command: Any = typer.main.get_command(app)
        for word in self.arguments[0].split():
            if word not in getattr(command, "commands", {}):
                raise self.error(f"no command '{self.arguments[0]}'")
            command = command.commands[word]
        return command


class ExitCodes(CommandTable):
    """Draws a command's exit codes, which its help lists."""

    columns: ClassVar[dict[str, int]] = {"exit code": 15, "meaning": 85}

    def run(self) -> list[nodes.Node]:
        _, _, listed = (self.command().callback.__doc__ or "").partition("Exit codes:")
        rows = re.findall(r"^ +(\d+) +(.+)$", listed, flags=re.M)
        if not rows:
            raise self.error(f"the help of '{self.arguments[0]}' lists no exit codes")
        return [self.table(self.columns, [(None, row) for row in rows])]


class CommandOptions(CommandTable):
    """Draws a command's usage and options."""

    def run(self) -> list[nodes.Node]:
        words = self.arguments[0].split()
        command = self.command()
        context = command.make_context("zskd-onnx", [], resilient_parsing=True)
        pieces = command.collect_usage_pieces(context)
        usage = " ".join(["zskd-onnx", *words, *pieces]).translate({ord(sign): None for sign in "{}"})
        content: list[nodes.Node] = [nodes.literal_block(usage, usage, language="text")]
        panels: dict[str, list[tuple[str | None, tuple[str, ...]]]] = {}
        for parameter in command.params:
            if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
                continue
            is_option = parameter.param_type_name == "option"
            panel = getattr(parameter, "rich_help_panel", None) or ("Options" if is_option else "Arguments")
            panels.setdefault(panel, []).append((None, self._cells(parameter, context)))
        for panel, rows in panels.items():
            content.append(self.table({panel: 34, "meaning": 50, "default": 16}, rows))
        return content

    def _cells(self, parameter: Any, context: Any) -> tuple[str, ...]:
        if parameter.param_type_name == "option":
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            value = "" if parameter.is_flag else parameter.metavar or ""  # choices have theirs in the metavar
            name = f"{names} `{value}`" if value else names
        else:
            name = f"`{parameter.metavar or parameter.name.upper()}`"
        default = parameter.default
        if parameter.required:
            shown = "required"
        elif default is None or default is False or callable(default) or default == []:
            shown = ""
        else:
            shown = f"`{getattr(default, 'value', default)}`"
        return name, (parameter.help or "").strip(), shown


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("command-options", CommandOptions)
    app.add_directive("exit-codes", ExitCodes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
