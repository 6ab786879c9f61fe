"""What a student that is an ONNX graph computes beside its logits, compared with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from tests.students.test_matched_blocks import RESIDUAL, WEIGHTS
from tests.students.thinning.graphs import graph_of
from zskd_onnx import load_teacher
from zskd_onnx.students.graph_recorder import GraphRecorder
from zskd_onnx.students.inserted_normalisation import insert_normalisation
from zskd_onnx.students.thinned_student import thinned_teacher
from zskd_onnx.students.thinning.observed_graph import run_all


@pytest.mark.parametrize("normalised", [False, True])
def test_features_and_blocks_are_the_values_of_the_students_file(tmp_path: Path, normalised: bool) -> None:
    onnx.save(graph_of(RESIDUAL, WEIGHTS), tmp_path / "teacher.onnx")
    student, _ = thinned_teacher("thin:0.5", load_teacher(tmp_path / "teacher.onnx", input_range=(0, 1))).build()
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    if normalised:
        assert insert_normalisation(student, [x]) == 1

    recorder = GraphRecorder(student, x[:1], blocks=["e"], features=True)
    with torch.no_grad():
        outputs = recorder(x)

    values = run_all(student.to_file(), {"x": x.numpy()})  # in inference mode, inserted normalisations are identities
    assert recorder.features == values["f"].shape[1] == 4
    assert outputs.features is not None
    for given, name in ((outputs.features, "f"), (outputs.blocks[0], "e"), (outputs.logits, "y")):
        assert torch.allclose(given, torch.from_numpy(values[name]), atol=1e-5)


def test_without_a_final_fully_connected_layer_there_are_no_features(tmp_path: Path) -> None:
    convolutions = """
        a = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)  b = Relu (a)
        c = Conv <pads = [1, 1, 1, 1]> (b, w1)  d = Relu (c)  p = GlobalMaxPool (d)  y = Flatten (p)
    """
    weights = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (4, 8, 3, 3)}
    onnx.save(graph_of(convolutions, weights), tmp_path / "teacher.onnx")
    teacher = load_teacher(tmp_path / "teacher.onnx", input_range=(0, 1))
    student, _ = thinned_teacher("thin:0.5", teacher).build()

    recorder = GraphRecorder(student, torch.zeros(1, 3, 6, 6), features=True)

    assert recorder.features is None
    assert recorder(torch.zeros(2, 3, 6, 6)).features is None
