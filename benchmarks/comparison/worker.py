"""A process that runs the tests of one converter, one line of JSON for each request and answer.

    python -m comparison.worker onnx2fx

It prints "ready" when the converter is imported. Then it reads ``{"test": ..., "argument": ...}``
and writes ``{"verdict": ..., "reason": ...}``.
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
    os.dup2(2, 1)  # what a converter prints must not reach the answers
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    converter = find(sys.argv[1])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            verdict = TESTS[request["test"]](converter, request["argument"])
        except Exception as error:
            verdict = Verdict("refused", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(json.dumps(asdict(verdict)), file=answers, flush=True)


if __name__ == "__main__":
    main()
