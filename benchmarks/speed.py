"""Speed and memory of this package beside plain loops in torch: one table of ratios from one run.

    python benchmarks/speed.py --resnet20 resnet20_cifar10_folded.onnx --data FOLDER
    python benchmarks/speed.py --only impressions-lenet5 step-lenet5 --rounds 3

Each kind of row has a module in ``speed_parts``, which says what both loops do. Everything runs on one thread. Loops take
turns, so that other load on the machine affects all of them, and the ratio plain : ours is the median of the rounds' ratios.
Above 1, this package is faster or needs less memory. Times are processor time, so waiting does not count.

Each row is printed as a JSON line when it is ready, and the table follows at the end. Rows whose file or data set is missing
are left out, and a line says why. ``--resnet20`` takes ResNet-20 for CIFAR-10 with folded batch normalisation, exported with
torch's default exporter. The MNIST rows train a teacher first, which ``--kept`` keeps for later runs.

At first, glibc returns large buffers to the system after every use, which slows the plain loops most. These environment
variables end this; report both ratios. "buffers kept" in the JSON lines says whether they are set:

    MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=536870912 MALLOC_TOP_PAD_=268435456
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rows import commit
from speed_parts import accuracy, adversary, answers, impressions, memory, steps
from speed_parts.rows import LeftOutError, Options, Row, table

PARTS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "impressions-lenet5": impressions.lenet5_rows,
    "impressions-resnet20": impressions.resnet20_rows,
    "step-lenet5": steps.lenet5_rows,
    "step-resnet20": steps.resnet20_rows,
    "adversary": adversary.rows,
    "answers-lenet5": answers.lenet5_rows,
    "answers-resnet20": answers.resnet20_rows,
    "mnist": accuracy.pruned_rows,
    "mnist-random": accuracy.random_rows,
    "memory-lenet5": memory.lenet5_rows,
    "memory-resnet20": memory.resnet20_rows,
}
"""Name for ``--only`` -> what measures its rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--resnet20", type=Path, help="ONNX file of ResNet-20")
    parser.add_argument("--data", type=Path, help="folder with MNIST; default: ZSKD_DATA")
    parser.add_argument("--rounds", type=int, default=12, help="of the rows that are measured in turns")
    parser.add_argument("--runs", type=int, default=1, help="of MNIST, with a seed each")
    parser.add_argument("--seed", type=int, default=0, help="of the first MNIST run")
    parser.add_argument("--epochs", type=int, default=20, help="of an MNIST run; the recipe has 20")
    parser.add_argument("--kept", type=Path, default=Path("benchmarks/out/papers"), help="folder of the MNIST teacher")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    data = given.data or (Path(os.environ["ZSKD_DATA"]) if "ZSKD_DATA" in os.environ else None)
    machine = {
        "torch": torch.__version__,
        "commit": commit(),
        "buffers kept": "MALLOC_TRIM_THRESHOLD_" in os.environ,
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            Path(folder),
            given.kept.resolve(),
            resnet20=None if given.resnet20 is None else given.resnet20.resolve(),
            data=data,
            rounds=given.rounds,
            seed=given.seed,
            runs=given.runs,
            epochs=given.epochs,
        )
        for name in given.only:
            try:
                for row in PARTS[name](options):
                    print(json.dumps({**row.as_json(), **machine}), flush=True)
                    rows.append(row)
            except LeftOutError as reason:
                print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
