"""The files with external data of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from zskd_onnx.importer.file.external_files import external_files


def test_files_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    weights = [numpy_helper.from_array(np.ones(4, np.float32), name) for name in ("a", "b", "c", "d")]
    locations = ["two.bin", "one.bin", "../outside.bin", "missing.bin"]
    for tensor, location in zip(weights, locations, strict=True):
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["y"])], "g", [], [], weights)
    (folder / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    for name in ("one.bin", "two.bin", "../outside.bin"):
        (folder / name).write_bytes(bytes(16))
    assert external_files(folder / "m.onnx") == [folder.resolve() / "one.bin", folder.resolve() / "two.bin"]
    (folder / "m.onnx").write_bytes(b"\xff\xff")
    assert external_files(folder / "m.onnx") == []
