"""Export of a student, and the checks of the exported file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from zskd_onnx import ParityError, ZskdError
from zskd_onnx.export.checks import check_interface, check_values
from zskd_onnx.export.onnx import DropInStudent, save, to_onnx
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Output

LOGITS = Output("scores", "logits", (3,), 3)


def domain(layout: str = "NCHW", dtype: str = "float32", low: float = 0.0, high: float = 1.0) -> Domain:
    return Domain("picture", dtype, layout, (2, 4, 5), (low,) * 2, (high,) * 2, "", "", "known")


def student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).eval()


def session(student: DropInStudent, opset: int = 18) -> ort.InferenceSession:
    return open_session(to_onnx(student, opset).SerializeToString())


@pytest.mark.parametrize(
    ("teacher_domain", "output", "shape"),
    [
        (domain(), Output("scores", "softmax", (3,), 3), (5, 3)),
        (domain("NHWC", "uint8", 0, 255), Output("scores", "logits", (3,), 3), (5, 3)),
        (domain("NHWC", low=-3, high=7), Output("scores", "log_softmax", (3, 1, 1), 3), (5, 3, 1, 1)),
    ],
    ids=["NCHW", "bytes", "NHWC"],
)
def test_the_file_computes_what_the_student_computes(
    teacher_domain: Domain, output: Output, shape: tuple[int, ...]
) -> None:
    net = student()
    drop_in = DropInStudent(net, teacher_domain, output)
    file = session(drop_in)
    assert [v.name for v in file.get_inputs()] == ["picture"]
    assert [v.name for v in file.get_outputs()] == ["scores"]
    unit = torch.rand(5, 2, 4, 5)
    x = teacher_domain.to_array(teacher_domain.to_file(unit))
    (scores,) = file.run(None, {"picture": x})
    assert scores.shape == shape
    with torch.no_grad():
        z = net(unit)
    expected = {"logits": z, "softmax": z.softmax(1), "log_softmax": z.log_softmax(1)}[output.kind]
    rounding = 0.02 if teacher_domain.dtype == "uint8" else 1e-5
    np.testing.assert_allclose(scores.reshape(5, 3), expected.numpy(), atol=rounding)
    parity = check_values(file, drop_in, (), torch.rand(10, 2, 4, 5))
    assert parity.max_abs_difference < 1e-4


def test_an_unsupported_operator_set_is_an_error() -> None:
    with pytest.raises(ZskdError, match="opset 13"):
        to_onnx(DropInStudent(student(), domain(), LOGITS), 13)


@pytest.mark.parametrize("opset", [16, 17, 20])
def test_the_file_has_the_requested_operator_set(opset: int) -> None:
    model = to_onnx(DropInStudent(student(), domain(), LOGITS), opset)
    assert {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")} == {opset}
    onnx.checker.check_model(model, full_check=True)


def test_the_file_of_another_student_is_an_error() -> None:
    file = session(DropInStudent(student(0), domain(), LOGITS))
    with pytest.raises(ParityError, match="batch size 1"):
        check_values(file, DropInStudent(student(1), domain(), LOGITS), (), torch.rand(10, 2, 4, 5))


def file(
    name: str = "x", shape: tuple[str | int, ...] = ("N", 3), kind: int = TensorProto.FLOAT, output: str = "y"
) -> ort.InferenceSession:
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [output])],
        "graph",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info(output, kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_session(model.SerializeToString())


@pytest.mark.parametrize(
    ("student", "match"),
    [
        (file(name="image"), "inputs"),
        (file(output="scores"), "output"),
        (file(kind=TensorProto.DOUBLE), "type"),
        (file(shape=("N", 4)), "shape"),
        (file(shape=("N", 3, 1)), "shape"),
        (file(shape=(2, 3)), "batch size"),
    ],
    ids=["input name", "output name", "type", "shape", "rank", "batch size"],
)
def test_another_interface_than_the_teachers_is_an_error(student: ort.InferenceSession, match: str) -> None:
    for teacher in (file(), file(shape=(1, 3))):
        check_interface(file(shape=("batch", 3)), teacher, "y")
        with pytest.raises(ParityError, match=match):
            check_interface(student, teacher, "y")
    check_interface(file(shape=(1, 3)), file(shape=(1, 3)), "y")


def test_a_student_that_cannot_be_exported_is_an_error_of_one_line() -> None:
    class Conditional(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 3) if float(x.sum()) > 0 else torch.ones(len(x), 3)

    with pytest.raises(ZskdError, match="cannot be exported") as error:
        to_onnx(DropInStudent(Conditional(), domain(), LOGITS), 18)
    assert "\n" not in str(error.value)


def test_save_writes_one_file_with_metadata(tmp_path: Path) -> None:
    model = to_onnx(DropInStudent(student(), domain(), LOGITS), 18)
    path = tmp_path / "student.onnx"
    save(model, path, {"zskd.recipe": "zskd", "author": "Ada"})
    assert [p.name for p in tmp_path.iterdir()] == ["student.onnx"]
    read = onnx.load(path)
    assert {p.key: p.value for p in read.metadata_props} == {"zskd.recipe": "zskd", "author": "Ada"}
    assert all(w.data_location == onnx.TensorProto.DEFAULT for w in read.graph.initializer)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"old")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save(to_onnx(DropInStudent(student(), domain(), LOGITS), 18), path, {})
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["student.onnx"]
