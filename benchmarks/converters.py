"""The importer beside other converters from ONNX to torch, put to the same tests in the same run.

    python benchmarks/converters.py --python onnx2torch=PYTHON --python onnx2fx=PYTHON ...

Each converter runs in a process of its own, under the Python of its own environment where one is
given (zskd-onnx need not be installed there; its dependencies must be). A converter for which
``--python`` is not given is left out. An environment is a virtual environment with torch 2.13.0,
zskd-onnx's dependencies, and

    pip install --no-deps onnx2torch==1.5.15 torchvision==0.28.0
    pip install --no-deps onnx2fx==0.0.1 torchvision==0.28.0
    pip install --no-deps onnx2pytorch==0.6.0 torchvision==0.28.0

Files of timm's architectures come from ``benchmarks/timm_models.py``, which runs first, in timm's
environment. A crash, or no answer in time, counts as refused; the process starts again.

The table goes to stdout; with ``--log``, every test that did not pass goes there with its reason.
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
"""Architectures left out unless named: files of a hundred megabytes and more, read four times each."""

CONVERTERS = ("zskd-onnx", "onnx2torch", "onnx2fx", "onnx2pytorch")


@dataclass(frozen=True)
class Row:
    """One row: a test, and what it is asked about."""

    title: str
    test: str
    arguments: Sequence[str]
    cell: Callable[[Sequence[Verdict]], str] = summary


def rows(given: argparse.Namespace) -> Iterator[Row]:
    yield Row("ONNX node conformance cases", "operator", [case.name for case in conformance.cases()])
    for exporter in timm_models.EXPORTERS:
        files = [timm_models.file_of(name, exporter, given.timm) for name in given.only.split(",")]
        yield Row(f"timm architectures, {exporter} exporter", "architecture", _existing(files))
    light = light_models.light_models()
    yield Row("`light_*` models as they are", "one_sample", [str(path) for path in light])
    random = [str(light_models.with_random_weights(path, given.light)) for path in light]
    yield Row("`light_*` models with random weights", "one_sample", random)
    for exporter in timm_models.FIXED:
        files = [timm_models.file_of(name, exporter, given.timm) for name in timm_models.FIXED_TOO]
        yield Row(f"exported at batch size 1, run at 2 and 3 ({exporter})", "architecture", _existing(files))
    for exporter in timm_models.EXPORTERS:
        file = timm_models.file_of("resnet18", exporter, given.timm)
        yield Row(f"graph breaks, ResNet-18 ({exporter})", "graph_breaks", _existing([file]), _reason)
    if given.files is not None:
        yield Row(
            "scikit-learn classifiers", "any_batch", [str(path) for path in sorted(given.files.glob("sk_*.onnx"))]
        )


def _existing(files: Sequence[Path]) -> list[str]:
    """A file that an exporter could not write is nobody's to convert."""
    return [str(path) for path in files if path.exists()]


def _reason(verdicts: Sequence[Verdict]) -> str:
    return ", ".join(v.reason if v.reason.isdigit() else "refused" for v in verdicts)


def measure(row: Row, converter: Isolated, name: str, log: TextIO | None) -> str:
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
    parser.add_argument("--python", action="append", default=[], metavar="CONVERTER=PYTHON")
    compared = [name for name in timm_models.ARCHITECTURES if name not in LARGE]
    parser.add_argument("--only", default=",".join(compared), help="timm architectures")
    parser.add_argument("--rows", default="", help="only the rows whose title contains this")
    parser.add_argument("--timm", type=Path, default=timm_models.FOLDER, help="folder of timm_models.py's files")
    parser.add_argument("--light", type=Path, default=light_models.FOLDER, help="where light models are written")
    parser.add_argument("--files", type=Path, help="folder with scikit-learn classifiers, sk_*.onnx")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that one test may take")
    parser.add_argument("--log", type=argparse.FileType("w"))
    given = parser.parse_args()
    pythons = {"zskd-onnx": sys.executable, **dict(pair.split("=", 1) for pair in given.python)}
    names = [name for name in CONVERTERS if name in pythons]
    print(f"| test | cases | {' | '.join(names)} |\n|---|---:|{'---|' * len(names)}")
    for row in rows(given):
        if given.rows not in row.title:
            continue
        cells = []
        for name in names:
            with Isolated(name, pythons[name], given.timeout) as converter:
                cells.append(measure(row, converter, name, given.log))
        print(f"| {row.title} | {len(row.arguments)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
