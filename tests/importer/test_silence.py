"""Errors of torch are exceptions alone: neither tracebacks nor logs reach stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from onnx import helper
from torch import fx

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.importer.fx_graph import ImportedModel, join

node = helper.make_node

LOAD = """
import sys
from zskd_onnx import ZskdError, load_teacher
for path in sys.argv[1:]:
    try:
        print(load_teacher(path, input_range=(0, 1)).batch)
    except ZskdError as error:
        print(error)
"""


def test_nothing_is_printed_on_import(save_model: SaveModel, environment: dict[str, str]) -> None:
    """A graph that works at its own batch size only, one declared free that does not, one that never runs."""
    constant = [node("Add", ["x", "c"], ["h"]), node("Gemm", ["h", "w"], ["y"], transB=1)]
    direct = [node("Flatten", ["x"], ["h"]), node("MatMul", ["h", "w"], ["y"])]
    c, w = torch.arange(8.0).reshape(2, 4), torch.ones(3, 4)
    paths = [
        save_model(constant, [2, 4], [2, 3], {"c": c, "w": w}, name="fixed.onnx"),
        save_model(constant, ["N", 4], ["N", 3], {"c": c, "w": w}, name="wrong.onnx"),
        save_model(direct, ["N", 5], ["N", 3], {"w": w.T.contiguous()}, name="never.onnx"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, paths)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
    fixed, wrong, never = done.stdout.splitlines()
    assert fixed == "2"
    assert "does not run at batch size" in wrong
    assert "'y' (MatMul)" in never


def failing() -> ImportedModel:
    """A module whose generated code calls a function of torch that fails."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.mm, (x, x)))
    return ImportedModel(torch.nn.Module(), graph)


def test_nothing_is_printed_by_a_module(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    module = failing()
    module.recompile()
    with pytest.raises(RuntimeError):
        module(torch.zeros(2, 3))
    with pytest.raises(UnsupportedTeacherError, match="mm: mat1 and mat2"):
        join([module], torch.zeros(2, 3))
    assert capsys.readouterr().err == ""
    torch.testing.assert_close(module(torch.eye(2)), torch.eye(2))
