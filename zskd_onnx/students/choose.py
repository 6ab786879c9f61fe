"""Choice of the student by name or from the user's own code."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.custom import build_custom, load_factory
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.students.own_objects import PREFIX, own_object
from zskd_onnx.students.student_file import read_student
from zskd_onnx.students.thinned_student import ThinnedTeacher, randomise, thinned_teacher
from zskd_onnx.students.timm_student import TIMM, timm_factory
from zskd_onnx.students.zoo.architecture import FAMILIES, STUDENTS, Factory, Shape, find
from zskd_onnx.system.randomness import seed_for
from zskd_onnx.teacher.teacher import Teacher

HALVES = ("lenet5-half", "alexnet-half")


@dataclass(frozen=True)
class Choice:
    """A student and the reason for choosing it.

    Attributes:
        name: name of the architecture, or the user's own module or file as ``--student`` takes it.
        why: the reason, in one line.
        factory: builds the module from the shape of one sample and the number of classes.
        is_own: whether the student is the user's own module or file, which a recipe cannot name.
        thinned: the teacher and the student's widths, where the student is the teacher's graph; None otherwise.
    """

    name: str
    why: str
    factory: Factory
    is_own: bool = False
    thinned: ThinnedTeacher | None = None


def choose(name: str, shape: Shape) -> Choice:
    """The student that a name stands for.

    Args:
        name: an architecture, "half" (the papers' half-size network for this input), "timm:NAME" for one of timm, or
            ``package.module:factory`` or ``file.py:factory`` for the user's own module. ``choose_automatically``
            resolves "auto".
        shape: shape of one sample in the unit space.

    Raises:
        UsageError: there is no such student, or it does not support the shape.
        MissingExtraError: the student is one of timm, which is not installed.
    """
    if name.startswith(TIMM):
        return Choice(name, "an architecture of timm", timm_factory(name), is_own=True)
    if name.startswith(PREFIX):
        return Choice(name, "your own module", own_object(name), is_own=True)
    if ":" in name:
        return Choice(name, "your own module", load_factory(name), is_own=True)
    if name == "half":
        for half in HALVES if len(shape) == 3 and shape[0] == 1 else reversed(HALVES):
            if STUDENTS[half].unsupported_reason(shape) is None:
                return Choice(half, f"the papers' half-size student for {in_words(shape)}", STUDENTS[half].build)
        raise UsageError(f"student 'half': no half-size student supports {in_words(shape)}; use --student auto")
    entry = find(name)
    if entry is None:
        nearest = difflib.get_close_matches(name, [*STUDENTS, "auto", "half"], 1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        names = [*STUDENTS, *(family.pattern for family in FAMILIES.values())]
        raise UsageError(
            f"student '{name}': expected auto, half, {', '.join(names)}, timm:NAME, or file.py:factory{hint}"
        )
    unsupported_reason = entry.unsupported_reason(shape)
    if unsupported_reason is not None:
        raise UsageError(
            f"student '{name}' does not support {in_words(shape)}: {unsupported_reason}; use --student auto"
        )
    return Choice(name, "as requested", entry.build)


def choose_thinned(name: str, teacher: Teacher, *, random: bool) -> Choice:
    """The student that "thin:..." stands for, see ``thinned_teacher``.

    Args:
        random: whether it starts with random weights.
    """
    thinned = thinned_teacher(name, teacher)

    def factory(shape: Shape, classes: int) -> nn.Module:
        student, _ = thinned.build()
        if random:
            randomise(student)
        return student

    names = [group.name for group in thinned.groups.groups if thinned.widths[group.name] < group.width]
    return Choice(name, f"the teacher's graph, thinner in {len(names)} groups of channels", factory, thinned=thinned)


def choose_file(name: str, teacher: Teacher, *, random: bool) -> Choice:
    """The student whose architecture is an ONNX file; it starts with the file's weights.

    Args:
        name: path of the file.
        random: whether it starts with random weights instead.

    Raises:
        UsageError: the file cannot be trained, or does not fit in the teacher's place.
    """
    model = read_student(Path(name), teacher)

    def factory(shape: Shape, classes: int) -> nn.Module:
        student = OnnxStudent(model, teacher)
        if random:
            randomise(student)
        return student

    return Choice(name, "the architecture of your file", factory, is_own=True)


def build(choice: Choice, shape: Shape, classes: int, seed: int) -> nn.Module:
    """A new student in inference mode; the same seed gives the same initial weights.

    Layers draw their weights from torch's global generator. It is seeded for this call and restored
    afterwards.

    Raises:
        UsageError: the user's factory fails, or its module does not map such inputs to K logits.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "student"))
        if choice.is_own:
            return build_custom(choice.factory, choice.name, shape, classes)
        return choice.factory(shape, classes).eval()


def in_words(shape: Shape) -> str:
    """The kind and shape of samples, such as "images of shape (1, 28, 28)"."""
    if len(shape) == 1:
        return f"vectors of {shape[0]} values"
    return f"{ {2: 'sequences', 3: 'images', 4: 'volumes'}[len(shape)] } of shape {shape}"
