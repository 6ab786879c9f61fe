"""Errors: one line on stderr, the same as JSON on stdout if it was asked for, and the exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from zskd_onnx.cli.results import print_json
from zskd_onnx.errors import DomainWarning, QualityError, UsageError, ZskdError
from zskd_onnx.system.interrupts import Terminated
from zskd_onnx.system.ranks import ranks

CONTINUING = dict.fromkeys(("sweep", "synthesize"), "run the same command again to continue")
"""What to do after an interrupt, for commands that continue a run in their own way."""


@contextmanager
def reported(command: str, *, as_json: bool, verbose: bool) -> Iterator[None]:
    """Turn exceptions of a command into messages and exit codes.

    Args:
        command: name of the command.
        as_json: also print each error as a JSON object on stdout.
        verbose: print the traceback of unexpected errors.

    Raises:
        typer.Exit: with the exit code of the error.
    """
    try:
        yield
    except QualityError as error:
        # The result that was printed lists the missed gates, so stdout gets no second object.
        raise report("QualityError", str(error), error.exit_code, as_json=False) from error
    except ZskdError as error:
        message = _with_notes(str(error), error, command)
        raise report(type(error).__name__, message, error.exit_code, as_json=as_json) from error
    except KeyboardInterrupt as error:
        kind, code = ("Terminated", 143) if isinstance(error, Terminated) else ("Interrupted", 130)
        raise report(kind, _with_notes(kind.lower(), error, command), code, as_json=as_json) from error
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = _with_notes(f"{where}{error.strerror or error}", error, command)
        raise report("OSError", message, 1, as_json=as_json) from error
    except Exception as error:
        if verbose:
            import traceback  # here, because it would slow down every help page

            traceback.print_exc()
        text = " ".join(str(error).split())[:300]
        advice = "please report it" if verbose else "run the command with --verbose for the traceback, and report it"
        kind = type(error).__name__
        message = _with_notes(f"unexpected {kind}: {text}; {advice}", error, command)
        raise report(kind, message, 1, as_json=as_json) from error


def _with_notes(message: str, error: BaseException, command: str) -> str:
    """A message, and what the run that ended says about its folder."""
    notes = [" ".join(note.split()) for note in getattr(error, "__notes__", ())]
    if command in CONTINUING and (notes or isinstance(error, KeyboardInterrupt)):
        notes = [CONTINUING[command]]
    return "; ".join([message, *notes])


@contextmanager
def warnings_in_one_line(*, quiet: bool) -> Iterator[None]:
    """Print a FutureWarning, which is written for users, as one line on stderr; ``quiet`` ignores all warnings."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, FutureWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_line
        warnings.simplefilter("ignore", DomainWarning)  # a row of the result has it
        if quiet:
            warnings.simplefilter("ignore")
        yield


def report(kind: str, message: str, exit_code: int, *, as_json: bool) -> typer.Exit:
    """Print an error; return the exception that ends the program."""
    place = ranks()
    if place.leads:
        print(f"error: {message}", file=sys.stderr)
    elif exit_code not in (130, 143):
        print(f"error: rank {place.rank}: {message}", file=sys.stderr)
    if as_json and place.leads:
        print_json({"error": {"type": kind, "message": message, "exit_code": exit_code}})
    return typer.Exit(exit_code)


def report_usage(error: typer.TyperException, program: str, *, as_json: bool) -> typer.Exit:
    """Print an error of option parsing; return the exception that ends the program.

    Args:
        program: the command with its parents, such as "zskd-onnx compress".
    """
    message = f"{usage_message(error)}; '{program} --help' lists the options"
    return report(UsageError.__name__, message, error.exit_code, as_json=as_json)


def usage_message(error: typer.TyperException) -> str:
    """One line for an error of option parsing: option, value, expectation."""
    parameter = getattr(error, "param", None)
    option = getattr(error, "option_name", None)
    text = " ".join(error.message.split()).removeprefix("Value error, ").rstrip(".")
    if parameter is not None:
        name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.metavar
        if hasattr(error, "param_type"):  # MissingParameter
            text = f"is missing; expected {parameter.metavar}" if parameter.metavar != name else "is missing"
        return f"{name} {text}"
    if option is not None and hasattr(error, "possibilities"):  # NoSuchOption
        nearest = f"; did you mean {' or '.join(sorted(error.possibilities))}?" if error.possibilities else ""
        return f"no such option {option}{nearest}"
    return text[:1].lower() + text[1:]
