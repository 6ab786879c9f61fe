"""What the scripts import from the package is there; most of them run too long for a test."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    path.relative_to(BENCHMARKS).as_posix() for path in BENCHMARKS.rglob("*.py") if "out" not in path.parts
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_imported_names_exist(script: str) -> None:
    tree = ast.parse((BENCHMARKS / script).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zskd_onnx"):
            module = importlib.import_module(str(node.module))
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), name
