"""A process that holds one converter and answers tests, a line each way.

    python -m comparison.worker onnx2fx

It says when the converter is imported; then it reads ``{"test": ..., "argument": ...}`` and writes
``{"verdict": ..., "reason": ...}``, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from dataclasses import asdict

import torch

from comparison.converter import find
from comparison.tests import TESTS
from comparison.verdict import Verdict


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a converter that prints must not answer in our name
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    converter = find(sys.argv[1])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            verdict = TESTS[asked["test"]](converter, asked["argument"])
        except Exception as error:
            verdict = Verdict("refused", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(json.dumps(asdict(verdict)), file=answers, flush=True)


if __name__ == "__main__":
    main()
