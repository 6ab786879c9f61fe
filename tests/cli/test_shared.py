"""Options that several commands share."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from zskd_onnx.cli.choices import Format, Importer, Layout
from zskd_onnx.cli.shared import Output, TeacherInput, constants, numbers, with_shared_options
from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.load import TeacherOptions

CALLS: list[Any] = []


@with_shared_options
def command(teacher: Path, teacher_input: TeacherInput, printed: Output, seed: int = 3) -> None:
    """A command."""
    CALLS.append((teacher, teacher_input, printed, seed))


def test_a_command_receives_one_object() -> None:
    CALLS.clear()
    values = {field.name: field.default for field in (*fields(TeacherInput), *fields(Output))}
    command(teacher=Path("a"), seed=1, **values | {"layout": Layout.NHWC, "quiet": True})
    [call] = CALLS
    assert call == (Path("a"), TeacherInput(layout=Layout.NHWC), Output(quiet=True), 1)


def test_the_signature_has_each_option() -> None:
    signature = inspect.signature(command)
    shared = [*(f.name for f in fields(TeacherInput)), *(f.name for f in fields(Output))]
    assert list(signature.parameters) == ["teacher", *shared, "seed"]
    assert signature.parameters["format"].default == Format.TEXT
    assert signature.parameters["seed"].default == 3
    assert command.__doc__ == "A command."


def test_the_options_are_those_of_load_teacher() -> None:
    assert set(TeacherInput().options()) == set(TeacherOptions.__annotations__)


def test_values_are_read() -> None:
    options = TeacherInput(
        input_range="0,255",
        mean="0.5",
        std="0.1,0.2,0.3",
        layout=Layout.NCHW,
        input_shape="3,32,32",
        output_name="probabilities",
        fix=["temperature=1.5", "mask=mask.npy", "a=b=1,2"],
        importer=Importer.ONNX2TORCH,
    ).options()
    assert options == {
        "input_range": [0.0, 255.0],
        "mean": [0.5],
        "std": [0.1, 0.2, 0.3],
        "layout": "NCHW",
        "input_shape": [3, 32, 32],
        "output_name": "probabilities",
        "fix": {"temperature": 1.5, "mask": Path("mask.npy"), "a=b": [1.0, 2.0]},
        "importer": "onnx2torch",
    }
    assert type(options["layout"]) is type(options["importer"]) is str


@pytest.mark.parametrize(
    ("teacher_input", "message"),
    [
        (TeacherInput(input_range="255"), "--input-range '255': expected the lowest and the highest value"),
        (TeacherInput(input_range="255,0"), "--input-range '255,0': expected the lowest and the highest value"),
        (TeacherInput(std="nan"), "--std 'nan': expected finite numbers"),
        (TeacherInput(mean="a,b"), "--mean 'a,b': expected numbers with commas, such as 0,255"),
        (TeacherInput(input_shape="3,2.5"), "--input-shape '3,2.5': expected whole numbers"),
        (TeacherInput(fix=["mask"]), "--fix mask: expected NAME=VALUE"),
        (TeacherInput(fix=["mask=x"]), "--fix mask= 'x': expected numbers"),
    ],
)
def test_faulty_values(teacher_input: TeacherInput, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        teacher_input.options()
    assert str(raised.value).startswith(message)


def test_nothing() -> None:
    assert numbers(None, "--mean") is None
    assert constants(None) == {}
