"""Size and element types, read from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from zskd_onnx.quantization.stored_model import read_stored_model


def test_what_a_file_stores(tmp_path: Path) -> None:
    arrays = {
        "weight": np.zeros((4, 5), np.int8),
        "bias": np.zeros(4, np.float32),
        "scale": np.array(1, np.float32),
        "shape": np.array([1, 2], np.int64),
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros((2, 3), np.float16)))
    model = helper.make_model(helper.make_graph([constant], "graph", [], [], tensors))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=0)
    stored = read_stored_model(path)
    assert stored.weights == {"int8": 20, "float16": 6, "float32": 4}
    assert stored.weights_in_words == "66.7 % int8, 20.0 % float16, 13.3 % float32"
    assert stored.bytes == path.stat().st_size + (tmp_path / "model.data").stat().st_size
