"""How this process was started."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

PROGRAM = "zskd-onnx"


def invocation() -> str:
    """The command line that this process runs, such as "zskd-onnx compress teacher.onnx"; "Python" for other programs."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    return shlex.join([PROGRAM, *sys.argv[1:]]) if name.replace("_", "-") == PROGRAM else "Python"
