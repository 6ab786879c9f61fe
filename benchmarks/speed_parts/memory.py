"""Rows of peak memory: ``VmHWM`` of a process that makes impressions, with this package or in a plain loop.

The process imports what it needs and makes one batch. The JSON line also has the memory that was resident before the batch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from speed_parts.rows import LeftOutError, Options, Row, child_environment, peak_megabytes, resident_megabytes

LOOPS = ("plain", "package")


def lenet5_rows(options: Options) -> Iterator[Row]:
    """The row of LeNet-5."""
    yield from _rows("lenet5", options)


def resnet20_rows(options: Options) -> Iterator[Row]:
    """The row of ResNet-20."""
    options.resnet20_file()
    yield from _rows("resnet20", options)


def _rows(network: str, options: Options) -> Iterator[Row]:
    from speed_parts.impressions import LENET5, RESNET20, teacher_file

    file = teacher_file(network, options)
    if not Path("/proc/self/status").exists():
        raise LeftOutError("peak memory needs /proc/self/status, which Linux has")
    figures: dict[str, list[dict[str, float]]] = {loop: [] for loop in LOOPS}
    for _ in range(min(3, options.rounds)):
        for loop in LOOPS:
            command = [sys.executable, "-m", "speed_parts.memory", network, loop, str(file), str(options.folder)]
            done = subprocess.run(command, env=child_environment(), stdout=subprocess.PIPE, text=True, check=True)
            figures[loop].append(json.loads(done.stdout))
    plain, package = ([one["peak"] for one in figures[loop]] for loop in LOOPS)
    others = {
        "before the batch, plain": round(figures["plain"][0]["before"], 1),
        "before the batch": round(figures["package"][0]["before"], 1),
    }
    name = {"lenet5": LENET5, "resnet20": RESNET20}[network]
    yield Row(f"peak memory of impressions, {name}", "the same work", "MiB", plain, package, others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("file", type=Path, help="the ONNX file of ResNet-20; LeNet-5 is in FOLDER")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()

    from speed_parts.impressions import package_work, plain_work

    options = Options(given.folder, given.folder, given.file if given.network == "resnet20" else None)
    work = (plain_work if given.loop == "plain" else package_work)(given.network, options)
    before = resident_megabytes()
    work()
    print(json.dumps({"before": before, "peak": peak_megabytes()}))


if __name__ == "__main__":
    main()
