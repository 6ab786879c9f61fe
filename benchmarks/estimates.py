"""Compare the estimates of ``compress --dry-run`` with what the runs take.

    python benchmarks/estimates.py resnet20_cifar10_folded.onnx

One JSON line a run: the estimated range of each stage and its real seconds, the processor time of the whole run, estimated and real
peak of the resident memory and size of the output folder in bytes, and the load of the machine before and after. The first three
runs compress the bundled classifier of digits, the last one the file, a network for photographs in the range of ImageNet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

DIGITS = (
    ("best", ("synthesis.count=6000", "distillation.epochs=30")),
    ("class-impressions", ("synthesis.count=6000", "distillation.epochs=20")),
    ("abm", ("distillation.epochs=5",)),
)
PHOTOGRAPHS = ("boundary", ("synthesis.count=1000", "distillation.epochs=2"))
IMAGENET = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    options = parser.parse_args()
    with resources.as_file(resources.files("zskd_onnx.assets") / "digits_teacher.onnx") as digits:
        for recipe, overrides in DIGITS:
            print(json.dumps(compared(digits, recipe, overrides)), flush=True)
    print(json.dumps(compared(options.photographs, *PHOTOGRAPHS, *IMAGENET)), flush=True)


def compared(teacher: Path, recipe: str, overrides: tuple[str, ...], *others: str) -> dict[str, Any]:
    """The estimate of a run, and what it took."""
    settings = [word for override in overrides for word in ("--set", override)]
    command = ["compress", str(teacher), "--recipe", recipe, *settings, *others, "--quiet", "--format", "json"]
    before = os.getloadavg()[0]
    plan = json.loads(run([*command, "--dry-run"])[0])["plan"]
    with tempfile.TemporaryDirectory() as folder:
        output, usage = run([*command, "--output", folder])
        written = sum(path.stat().st_size for path in Path(folder).rglob("*"))
    return {
        "teacher": teacher.name,
        "recipe": recipe,
        "overrides": overrides,
        "estimate_range": plan["estimate_range"],
        "at_most": plan["estimate_at_most"],
        "seconds": json.loads(output)["seconds"],
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "memory": {"estimated": plan["memory_bytes"], "real": usage.ru_maxrss * 1024},
        "disk": {"estimated": plan["disk_bytes"], "real": written},
        "load": [round(load, 1) for load in (before, os.getloadavg()[0])],
    }


def run(words: list[str]) -> tuple[str, Any]:
    """The output of the command line, and the resources that its process took."""
    with subprocess.Popen([sys.executable, "-m", "zskd_onnx", *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    return output, usage


if __name__ == "__main__":
    main()
