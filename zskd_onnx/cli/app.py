"""The command line, put together from its commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zskd_onnx.cli.compress import compress
from zskd_onnx.cli.demo import demo
from zskd_onnx.cli.doctor import doctor
from zskd_onnx.cli.evaluate import evaluate
from zskd_onnx.cli.inspect import inspect
from zskd_onnx.cli.printing import print_json
from zskd_onnx.cli.recipes import recipes
from zskd_onnx.cli.students import students
from zskd_onnx.cli.sweep import sweep
from zskd_onnx.cli.verify import verify
from zskd_onnx.version import __version__

app = typer.Typer(
    name="zskd-onnx",
    help="Compress a trained ONNX classifier without its training data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (compress, inspect, verify, evaluate, sweep, demo, doctor):
    app.command()(command)
app.add_typer(recipes, name="recipes")
app.add_typer(students, name="students")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    try:
        app()
    except SystemExit as ended:
        # A command reports what goes wrong in it; options that cannot be read never reach it.
        unread = getattr(ended.__context__, "format_message", None)
        if unread is not None and "--format json" in " ".join(sys.argv).replace("=", " "):
            print_json({"error": {"type": "UsageError", "message": unread(), "exit_code": ended.code}})
        raise
