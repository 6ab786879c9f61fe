"""The command line, assembled from its commands."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from zskd_onnx.cli.closed_pipe import ignoring_closed_pipes
from zskd_onnx.cli.command import CONTEXT, Command, Group
from zskd_onnx.cli.compress import compress
from zskd_onnx.cli.demo import demo
from zskd_onnx.cli.doctor import doctor
from zskd_onnx.cli.evaluate import evaluate
from zskd_onnx.cli.inspect import inspect
from zskd_onnx.cli.quantize import quantize
from zskd_onnx.cli.recipes import recipes
from zskd_onnx.cli.report import report
from zskd_onnx.cli.show_help import show_help
from zskd_onnx.cli.students import students
from zskd_onnx.cli.sweep import sweep
from zskd_onnx.cli.synthesize import synthesize
from zskd_onnx.cli.verify import verify
from zskd_onnx.version import __version__

app = typer.Typer(
    name="zskd-onnx",
    cls=Group,
    context_settings=CONTEXT,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (compress, inspect, synthesize, verify, evaluate, report, quantize, sweep, demo, doctor):
    app.command(cls=Command)(command)
app.add_typer(recipes, name="recipes")
app.add_typer(students, name="students")
app.command("help", cls=Command)(show_help)

COLLECT_AFTER = 10_000
"""Number of new objects after which Python's collector of reference cycles runs; its own default is 700."""


def _print_version(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Compress a trained ONNX classifier without its training data.

    Examples:
      zskd-onnx demo
      zskd-onnx compress teacher.onnx --output out
      zskd-onnx help compress
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The console script."""
    # torch's modules are half a million objects that stay to the end. Python's collector would go through all of them
    # several times while they are imported, and once more at the end: two seconds in total.
    gc.set_threshold(COLLECT_AFTER)
    try:
        with ignoring_closed_pipes():
            app()
    finally:
        gc.freeze()
