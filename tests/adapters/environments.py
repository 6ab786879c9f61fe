"""Virtual environments for the adapters, with the dependencies that each script declares."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "adapters"
MODELS = Path(__file__).resolve().parent / "models"
BOUNDED = {"torch": "torch>=2.9,<2.14"}
"""Requirements that pyproject.toml bounds, in place of the script's own."""


def metadata(script: Path) -> dict[str, Any]:
    """Inline metadata of a script (PEP 723)."""
    block = re.search(r"(?m)^# /// script$\n((?:^#(?: .*)?$\n)+?)^# ///$", script.read_text(encoding="utf-8"))
    assert block is not None, script
    return tomllib.loads("".join(line[2:] + "\n" for line in block[1].splitlines()))


def python_for(adapter: str, folder: Path) -> Path:
    """Interpreter of an adapter's environment, which is created in ``folder`` if it does not exist."""
    requirements = [
        BOUNDED.get(re.split(r"[<>=; ]", d)[0], d) for d in metadata(ADAPTERS / f"{adapter}.py")["dependencies"]
    ]
    requirements.append("scikit-learn>=1.5")  # it has the digits on which the models are trained
    environment = folder / f"{adapter}-{hashlib.sha256(' '.join(requirements).encode()).hexdigest()[:8]}"
    python, ready = environment / "bin" / "python", environment / "ready"
    if not ready.exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        ready.touch()
    return python


def train(adapter: str, python: Path, folder: Path) -> Path:
    """Train an adapter's models on scikit-learn's digits, and save them in every format that it accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    run(python, MODELS / f"train_{adapter}.py", folder, check=True)
    return folder


def run(
    python: Path, *arguments: object, cwd: Path | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with one thread."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}
    finished = subprocess.run(
        [python, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        check=False,
        timeout=600,
    )
    if check and finished.returncode:
        sys.stderr.write(finished.stderr)
        finished.check_returncode()
    return finished
