"""Import timm's architectures from both of torch's exporters, and check values, gradients and head.

    python benchmarks/architectures.py [--only resnet18,vit_tiny_patch16_224] [--exporter legacy]

Missing files are exported first; ``timm_models.py`` says which packages that needs.

For each file, ``load_teacher`` compares the import with onnxruntime at two batch sizes. The table
shows the relative difference (parity), the relative error of the input gradient along a random
direction of the logits, compared with the original module, and whether the final layer's weight
is the original's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from timm_models import ARCHITECTURES, EXPORTERS, FOLDER, Reference, file_of, prepare, reference_of

from zskd_onnx import Teacher, ZskdError, load_teacher

COLUMNS = ("verdict", "parity", "gradient", "head", "import")


def check(path: Path, reference: Reference) -> dict[str, str]:
    """The cells of one file; their keys are ``COLUMNS`` and "reason"."""
    begin = time.perf_counter()
    try:
        teacher = load_teacher(path, input_range=(-1, 1))
    except ZskdError as error:
        return {"verdict": "refused", "reason": str(error)[-300:]}
    seconds = time.perf_counter() - begin
    inputs = torch.from_numpy(reference.x).requires_grad_()
    along = (teacher.logits(inputs) * torch.from_numpy(reference.direction)).sum()
    gap = reference.gradient_gap(torch.autograd.grad(along, inputs)[0])
    head = compare_head(teacher, torch.from_numpy(reference.weight))
    good = teacher.parity < 1e-3 and gap < 1e-2 and head == "found"
    return {
        "verdict": "ok" if good else "WRONG",
        "parity": f"{teacher.parity:.1e}",
        "gradient": f"{gap:.1e}",
        "head": head,
        "import": f"{seconds:.1f} s",
    }


def compare_head(teacher: Teacher, weight: torch.Tensor) -> str:
    """Whether the final layer's weight is the original's: "found", "differs" or "none"."""
    if teacher.head is None:
        return "none"
    head = teacher.head.weight
    same = head.shape == weight.shape and torch.allclose(head, weight, rtol=1e-3, atol=1e-5)
    return "found" if same else "differs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ARCHITECTURES), help="names, separated by commas")
    parser.add_argument("--exporter", choices=[*EXPORTERS, "both"], default="both")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the files")
    options = parser.parse_args()
    exporters = EXPORTERS if options.exporter == "both" else (options.exporter,)
    names = options.only.split(",")
    passed = dict.fromkeys(exporters, 0)
    print(f"| architecture | exporter | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name in names:
        for exporter in exporters:
            try:
                prepare(name, exporter, options.folder)
                row = check(file_of(name, exporter, options.folder), reference_of(name, options.folder))
            except Exception as error:
                row = {"verdict": "not exported", "reason": " ".join(str(error).split())[:120]}
            passed[exporter] += row["verdict"] == "ok"
            cells = [row.get(key, "") for key in COLUMNS]
            print(f"| {name} | {exporter} | {' | '.join(cells)} | {row.get('reason', '')}", flush=True)
    for exporter, count in passed.items():
        print(f"{exporter} exporter: {count} of {len(names)}")


if __name__ == "__main__":
    main()
