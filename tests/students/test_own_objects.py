"""Students that are Python objects."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx import UsageError
from zskd_onnx.students.choose import build, choose
from zskd_onnx.students.own_objects import name_of


class Flat(nn.Sequential):
    """A class that is called with shape and classes."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), classes))


def test_an_importable_class_has_a_name_that_any_process_finds() -> None:
    assert name_of(Flat) == f"{__name__}:Flat"
    assert name_of("lenet5") == "lenet5"


def test_a_local_factory_and_a_module_have_names_in_this_process() -> None:
    factory = name_of(lambda shape, classes: Flat(shape, classes))
    assert factory.startswith("python:")
    module = Flat((1, 4, 4), 3)
    name = name_of(module)
    assert name == "python:Flat"
    student = build(choose(name, (1, 4, 4)), (1, 4, 4), 3, seed=7)
    assert student is not module
    torch.testing.assert_close(student.state_dict(), module.state_dict())  # its weights are the initial ones


def test_what_is_no_student() -> None:
    with pytest.raises(UsageError, match=r"expected a name, a torch\.nn\.Module or a factory, got int"):
        name_of(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="was an object of the program that started the run"):
        choose("python:Gone", (1, 4, 4))
