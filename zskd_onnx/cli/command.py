"""The classes of commands and groups: help pages, usage errors, and what happens when a command fails."""

from __future__ import annotations

import difflib
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from zskd_onnx.cli.choices import Format
from zskd_onnx.cli.failures import report, report_usage, reported, warnings_in_one_line
from zskd_onnx.cli.help_page import help_page
from zskd_onnx.errors import UsageError
from zskd_onnx.system.interrupts import raising_terminated

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
"""Settings of every command's context."""

TEXTS = {
    "help": "Show this help.",
    "install_completion": "Install completion for your shell.",
    "show_completion": "Print the completion script of your shell.",
}
"""Help of the options that typer adds."""


class _Shared:
    """What commands and groups have in common."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with False as the default of flags that have none.

        Typer 0.29 converts None with pydantic, which takes 0.2 s to load, even for ``--help``.
        """
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False) and parameter.default is None:
                parameter.default = False
            parameter.help = TEXTS.get(parameter.name, getattr(parameter, "help", None))
        return parameters

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(help_page(self, ctx) + "\n")


class Command(_Shared, TyperCommand):
    """A command that reports its errors in one line, and in JSON if ``--format json`` asks for it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options.

        Raises:
            typer.Exit: they cannot be read; the reason has been printed.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise report_usage(error, ctx.command_path, as_json=self.asks_for_json(words)) from error

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: it failed; the reason has been printed.
        """
        name, options = ctx.command.name or "", ctx.params
        as_json, quiet, verbose = options.get("format") == Format.JSON, options.get("quiet"), options.get("verbose")
        with (
            reported(name, as_json=as_json, verbose=bool(verbose)),
            warnings_in_one_line(quiet=bool(quiet)),
            raising_terminated(),
        ):
            if quiet and verbose:
                raise UsageError("--quiet and --verbose exclude each other; give one of them")
            super().invoke(ctx)
            sys.stdout.flush()  # where the output is a file on a full disk, that shows here

    def asks_for_json(self, args: list[str]) -> bool:
        """Whether readable options among words that as a whole are faulty ask for JSON."""
        context = self.context_class(self, resilient_parsing=True, ignore_unknown_options=True, allow_extra_args=True)
        super().parse_args(context, list(args))
        return context.params.get("format") == Format.JSON


class Group(_Shared, TyperGroup):
    """A group of commands that reports usage errors as ``Command`` does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command's name.

        Raises:
            typer.Exit: they cannot be read; the reason has been printed.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise report_usage(error, ctx.command_path, as_json=self.asks_for_json(words)) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a name.

        Raises:
            typer.Exit: no command has that name; the message suggests the nearest.
        """
        if ctx.resilient_parsing or args[0] in self.commands:
            return super().resolve_command(ctx, args)
        nearest = difflib.get_close_matches(args[0], self.commands, 1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"expected {', '.join(self.commands)}"
        message = f"{ctx.command_path}: no command '{args[0]}'; {hint}"
        raise report(UsageError.__name__, message, UsageError.exit_code, as_json=self.asks_for_json(args))

    def asks_for_json(self, args: list[str]) -> bool:
        """As a command would read the words."""
        commands = [command for command in self.commands.values() if isinstance(command, Command)]
        return any(command.asks_for_json(args) for command in commands[:1])
