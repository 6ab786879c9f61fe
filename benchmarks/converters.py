"""Compare the importer with other converters from ONNX to torch, on the same tests in the same run.

    python benchmarks/converters.py --python onnx2torch=PYTHON --python onnx2fx=PYTHON ...

Each converter runs in its own process. ``--python`` gives the Python of its environment, in which
zskd-onnx's dependencies must be installed, but not zskd-onnx itself. Without ``--python`` a
converter is left out. An environment is a virtual environment with torch 2.13.0, zskd-onnx's
dependencies, and one of

    pip install --no-deps onnx2torch==1.5.15 torchvision==0.28.0
    pip install --no-deps onnx2fx==0.0.1 torchvision==0.28.0
    pip install --no-deps onnx2pytorch==0.6.0 torchvision==0.28.0

First run ``benchmarks/timm_models.py`` in timm's environment, which writes the files of timm's
architectures. A test that crashes the process or exceeds the time limit counts as refused, and
the process is started again.

The table goes to stdout. ``--log FILE`` writes every test that did not pass, with the reason.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import conformance
import light_models
import timm_models
from comparison.isolated import Isolated
from comparison.verdict import Verdict, summary

LARGE = (
    "resnet50d",
    "resnext50_32x4d",
    "seresnet50",
    "swin_tiny_patch4_window7_224",
    "xception41",
    "wide_resnet50_2",
    "vgg11_bn",
)
"""Architectures that only run if named: their files of 100 MB and more are read four times each."""

CONVERTERS = ("zskd-onnx", "onnx2torch", "onnx2fx", "onnx2pytorch")
"""Order of the columns."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: its first cell.
        test: name of a function in ``comparison.tests``.
        arguments: the cases: each is passed to the test.
        cell: makes a cell of the verdicts of one converter.
    """

    title: str
    test: str
    arguments: Sequence[str]
    cell: Callable[[Sequence[Verdict]], str] = summary


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table, for the command line's options."""
    yield Row("ONNX node conformance cases", "operator", [case.name for case in conformance.cases()])
    for exporter in timm_models.EXPORTERS:
        files = [timm_models.file_of(name, exporter, options.timm) for name in options.only.split(",")]
        yield Row(f"timm architectures, {exporter} exporter", "architecture", _existing(files))
    light = light_models.light_models()
    yield Row("`light_*` models as they are", "one_sample", [str(path) for path in light])
    random = [str(light_models.with_random_weights(path, options.light)) for path in light]
    yield Row("`light_*` models with random weights", "one_sample", random)
    for exporter in timm_models.FIXED:
        files = [timm_models.file_of(name, exporter, options.timm) for name in timm_models.FIXED_TOO]
        yield Row(f"exported at batch size 1, run at 2 and 3 ({exporter})", "architecture", _existing(files))
    for exporter in timm_models.EXPORTERS:
        file = timm_models.file_of("resnet18", exporter, options.timm)
        yield Row(f"graph breaks, ResNet-18 ({exporter})", "graph_breaks", _existing([file]), _reason)
    if options.files is not None:
        yield Row(
            "scikit-learn classifiers", "any_batch", [str(path) for path in sorted(options.files.glob("sk_*.onnx"))]
        )


def _existing(files: Sequence[Path]) -> list[str]:
    """The files that exist; an exporter may fail to write one."""
    return [str(path) for path in files if path.exists()]


def _reason(verdicts: Sequence[Verdict]) -> str:
    """The number of graph breaks, or "refused"."""
    return ", ".join(v.reason if v.reason.isdigit() else "refused" for v in verdicts)


def measure(row: Row, converter: Isolated, name: str, log: TextIO | None) -> str:
    """Run all cases of a row on a converter, and return the cell.

    Args:
        row: the row.
        converter: the converter's process.
        name: its name, for the log.
        log: where tests that did not pass are written, or None.
    """
    verdicts = []
    for argument in row.arguments:
        verdict = converter.ask(row.test, argument)
        verdicts.append(verdict)
        if verdict.verdict != "pass" and log is not None:
            print(
                f"{name}\t{row.title}\t{Path(argument).name}\t{verdict.verdict}\t{verdict.reason}", file=log, flush=True
            )
    return row.cell(verdicts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], metavar="CONVERTER=PYTHON", help="may be repeated")
    compared = [name for name in timm_models.ARCHITECTURES if name not in LARGE]
    parser.add_argument("--only", default=",".join(compared), help="timm architectures")
    parser.add_argument("--rows", default="", help="only rows whose title contains this text")
    parser.add_argument("--timm", type=Path, default=timm_models.FOLDER, help="folder with the files of timm_models.py")
    parser.add_argument(
        "--light", type=Path, default=light_models.FOLDER, help="folder for light models with random weights"
    )
    parser.add_argument("--files", type=Path, help="folder with scikit-learn classifiers, sk_*.onnx")
    parser.add_argument("--timeout", type=float, default=120, help="time limit of one test in seconds")
    parser.add_argument("--log", type=argparse.FileType("w"), help="file for tests that did not pass")
    options = parser.parse_args()
    pythons = {"zskd-onnx": sys.executable, **dict(pair.split("=", 1) for pair in options.python)}
    names = [name for name in CONVERTERS if name in pythons]
    print(f"| test | cases | {' | '.join(names)} |\n|---|---:|{'---|' * len(names)}")
    for row in rows(options):
        if options.rows not in row.title:
            continue
        cells = []
        for name in names:
            with Isolated(name, pythons[name], options.timeout) as converter:
                cells.append(measure(row, converter, name, options.log))
        print(f"| {row.title} | {len(row.arguments)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
