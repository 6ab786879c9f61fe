"""The layout of the package, read from its sources: floors, imports, names and sizes of modules."""

from __future__ import annotations

import ast
import statistics
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "zskd_onnx"

FLOORS = (
    ("errors", "version", "settings", "events"),
    ("system",),
    ("importer", "procedural"),
    ("teacher", "report"),
    ("losses", "priors", "data"),
    ("metrics",),
    ("export",),
    ("synthesis", "students", "generators"),
    ("distillation", "quantization"),
    ("config",),
    ("pipeline",),
    ("sweeps", "tracking"),
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

LOOSE = {"errors", "events", "settings", "version", "losses", "__main__"}
"""Modules that lie in no folder."""

RECURRING = {"base", "settings", "train", "load", "files"}
"""Names of modules that several folders may have; a command in ``cli`` is named after the function that it calls."""


def test_every_part_has_a_floor() -> None:
    assert {part(name) for name in INNER} <= set(LEVEL)


@pytest.mark.parametrize("name", INNER)
def test_imports_run_downwards(name: str) -> None:
    for module in imported(name) - {"zskd_onnx"}:
        assert module in SOURCES, f"{name} imports {module}, which does not exist"
        same_part = part(module) == part(name)
        lowest = LEVEL[part(module)] == LEVEL[part(name)] == 0
        assert LEVEL[part(module)] < LEVEL[part(name)] or same_part or lowest, f"{name} imports {module}"


def test_there_is_no_import_cycle() -> None:
    graph = {name: imported(name) - {"zskd_onnx", name} for name in INNER}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(INNER)


def test_no_module_lies_loose() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE | {"__init__"}


def test_base_names_do_not_recur() -> None:
    places: dict[str, list[str]] = {}
    for name in INNER:
        if not name.startswith("zskd_onnx.cli.") and SOURCES[name].name != "__init__.py":
            places.setdefault(name.rpartition(".")[2], []).append(name)
    assert {base for base, names in places.items() if len(names) > 1} <= RECURRING


def test_modules_are_short() -> None:
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in SOURCES.items()}
    assert not {name: count for name, count in lines.items() if count > 350}
    assert statistics.median(lines.values()) < 120


def test_the_package_list_is_complete() -> None:
    """setuptools cannot find packages by itself, because the recipes lie beside the package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert set(settings["tool"]["setuptools"]["packages"]) == packages | {
        "zskd_onnx.recipes",
        "zskd_onnx.recipes.as_published",
    }


def test_the_tests_mirror_the_package() -> None:
    """Each folder of the package has one here."""
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")}
    missing = {folder for folder in folders if not (Path(__file__).parent / folder).is_dir()}
    assert missing <= {Path("assets"), Path("importer/file/checks")}
