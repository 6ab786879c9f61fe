"""Versions that the installed onnxruntime does not support."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError, load_teacher


@pytest.fixture
def linear(save_model: SaveModel) -> Path:
    return save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 3], {"w": torch.randn(4, 3)})


def loads(path: Path) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def refusal(path: Path) -> str:
    with pytest.raises(UnsupportedTeacherError) as caught:
        load_teacher(path)
    return str(caught.value)


def test_ir_version(linear: Path) -> None:
    """Both numbers are named, and the advice works."""
    model = onnx.load(linear)
    model.ir_version = 99
    linear.write_bytes(model.SerializeToString())
    assert not loads(linear)
    message = refusal(linear)
    newest = int(message.rpartition("model.ir_version = ")[2])
    assert "IR version 99" in message
    assert f"onnxruntime {ort.__version__} supports at most {newest};" in message
    for version, expected in ((newest, True), (newest + 1, False)):
        model.ir_version = version
        linear.write_bytes(model.SerializeToString())
        assert loads(linear) == expected
    model.ir_version = newest
    linear.write_bytes(model.SerializeToString())
    load_teacher(linear)


@pytest.mark.parametrize(("domain", "name"), [("", "ai.onnx"), ("ai.onnx.ml", "ai.onnx.ml")])
def test_opset(linear: Path, domain: str, name: str) -> None:
    model = onnx.load(linear)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 50))
    else:
        model.opset_import[0].version = onnx.defs.onnx_opset_version()
    linear.write_bytes(model.SerializeToString())
    if loads(linear):
        pytest.skip("onnxruntime supports the newest opset of the installed onnx")
    message = refusal(linear)
    newest = int(message.rpartition("opset ")[2])
    assert f"opset {model.opset_import[-1].version} of domain '{name}'" in message
    model.opset_import[-1].version = newest
    linear.write_bytes(model.SerializeToString())
    assert loads(linear)
    model.opset_import[-1].version = newest + 1
    linear.write_bytes(model.SerializeToString())
    assert not loads(linear)
