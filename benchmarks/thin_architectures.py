"""Thin timm's architectures to half of their widths, from both of torch's exporters.

    python benchmarks/thin_architectures.py [--only resnet18,vit_tiny_patch16_224] [--exporter legacy] [--factor 0.5]

Missing files are exported first; ``timm_models.py`` says which packages that needs.

Each file is loaded as a teacher and thinned (``students.thinning``): channels are chosen by the norm of their weights, and
the thinned file is compared in onnxruntime with the full one in which nothing reads the removed channels. One JSON line a
file says which share of the parameters remains, the largest relative difference, and what holds the channels that stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from timm_models import ARCHITECTURES, EXPORTERS, FOLDER, file_of, prepare

from zskd_onnx import ZskdError, load_teacher
from zskd_onnx.students.thinning.thin import teacher_groups, thin
from zskd_onnx.students.thinning.weighted_readers import read_weights
from zskd_onnx.students.thinning.widths import scaled_widths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=ARCHITECTURES)
    parser.add_argument("--exporter", choices=EXPORTERS)
    parser.add_argument("--factor", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    rows = []
    for name in options.only:
        for exporter in [options.exporter] if options.exporter else EXPORTERS:
            prepare(name, exporter, options.folder)
            row = {
                "architecture": name,
                "exporter": exporter,
                **thin_file(file_of(name, exporter, options.folder), options.factor),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    both = {name for name in options.only if all("error" not in row for row in rows if row["architecture"] == name)}
    print(json.dumps({"architectures": len(options.only), "thinned from each exporter": len(both)}))
    sys.exit(0 if rows else 1)


def thin_file(path: Path, factor: float) -> dict[str, Any]:
    """What thinning a file gives."""
    start = time.perf_counter()
    try:
        teacher = load_teacher(path, input_range=(0, 1))
        groups = teacher_groups(teacher)
        thinned = thin(teacher, groups, scaled_widths(groups.groups, factor))
    except ZskdError as error:
        return {"error": str(error)}
    before, after = (
        sum(int(np.prod(array.shape)) for array in read_weights(model).values() if array.dtype.kind == "f")
        for model in (groups.graph.proto, thinned.model)
    )
    held = sorted({stay.held_by for stay in groups.held})
    return {
        "parameters": before,
        "share": round(after / before, 3),
        "groups": len(groups.groups),
        "difference": thinned.difference,
        "held": len(groups.held),
        "held by": held[:3],
        "seconds": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    main()
