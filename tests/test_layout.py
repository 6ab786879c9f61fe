"""Imports run down the road only; read from the sources, so that nothing has to be imported."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "zskd_onnx"

FLOORS = (
    ("errors", "version", "settings", "events"),
    ("system",),
    ("importer",),
    ("teacher", "report"),
    ("losses", "priors", "procedural", "data"),
    ("metrics", "export"),
    ("synthesis", "students", "generators"),
    ("distillation",),
    ("config",),
    ("pipeline",),
    ("sweeps",),
    ("assets", "cli"),
    ("__main__",),
)
"""The parts of the package, from the lowest: a module imports from its own part or from lower floors."""

LEVEL = {part: level for level, parts in enumerate(FLOORS) for part in parts}
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(name: str) -> set[str]:
    """Modules of the package that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in SOURCES else node.module)
    return {module for module in found if module.split(".")[0] == "zskd_onnx"}


def part(name: str) -> str:
    return name.split(".")[1]


INNER = [name for name in SOURCES if name != "zskd_onnx"]


def test_every_part_has_a_place_on_the_road() -> None:
    assert {part(name) for name in INNER} <= set(LEVEL)


@pytest.mark.parametrize("name", INNER)
def test_imports_run_down_the_road(name: str) -> None:
    for module in imported(name) - {"zskd_onnx"}:
        assert module in SOURCES, f"{name} imports {module}, which is not there"
        same_part = part(module) == part(name)
        shared = LEVEL[part(module)] == LEVEL[part(name)] == 0
        assert LEVEL[part(module)] < LEVEL[part(name)] or same_part or shared, f"{name} imports {module}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: imported(name) - {"zskd_onnx", name} for name in INNER}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(INNER)


def test_modules_fit_on_a_few_screens() -> None:
    long = {name: lines for name, path in SOURCES.items() if (lines := path.read_text().count("\n")) > 400}
    assert not long


def test_the_tests_mirror_the_package() -> None:
    """Each folder of the package has one here."""
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()} - {"assets"}
    assert folders <= {p.name for p in Path(__file__).parent.iterdir() if p.is_dir()}
