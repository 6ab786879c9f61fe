"""Automatic choice of a student that is smaller than the teacher."""

from __future__ import annotations

import math
from dataclasses import replace

from zskd_onnx.errors import UnsupportedTeacherError, UsageError, ZskdError
from zskd_onnx.importer.fx_graph import only_reader, operator_name, shape_of
from zskd_onnx.students.choose import Choice, choose_thinned, in_words
from zskd_onnx.students.describe import Size, outlined_size
from zskd_onnx.students.thinning.widths import share_of_weights
from zskd_onnx.students.zoo.architecture import Architecture, Shape, find
from zskd_onnx.teacher.teacher import Teacher

MLPS = ("mlp", "mlp-small", "mlp-16", "mlp-8", "mlp-4")
CNNS = ("cnn", "cnn-small", "cnn-6", "cnn-4", "cnn-3", "cnn-2")
"""Candidates of the zoo by size, the largest first."""

THINNED, LARGEST_SHARE = "thin:0.5", 0.75
"""The thinned teacher, and the share of the weights above which it is no gain."""


def choose_automatically(teacher: Teacher, *, random: bool = False) -> Choice:
    """The student that "auto" stands for: the teacher's graph with half of its channels, or else one of the zoo.

    Args:
        random: whether a thinned student starts with random weights.

    Raises:
        UsageError: the graph cannot be thinned, and no student of the zoo is smaller.
    """
    try:
        return thinned_in_half(teacher, random=random)
    except ZskdError as error:
        return choose_from_zoo(teacher, error)


def thinned_in_half(teacher: Teacher, *, random: bool = False) -> Choice:
    """The teacher's graph with half of its channels.

    Raises:
        UnsupportedTeacherError: no channels can be removed, or more than ``LARGEST_SHARE`` of the weights would remain.
        UsageError: every group has one channel.
    """
    choice = choose_thinned(THINNED, teacher, random=random)
    assert choice.thinned is not None
    share = share_of_weights(choice.thinned.groups, choice.thinned.widths)
    if share > LARGEST_SHARE:
        raise UnsupportedTeacherError(f"{THINNED} would keep {100 * share:.0f} % of its weights")
    return choice


def choose_from_zoo(teacher: Teacher, why_not_thinned: ZskdError) -> Choice:
    """The first candidate of the zoo that is smaller than the teacher.

    Args:
        why_not_thinned: why it is not the teacher's graph.

    Raises:
        UsageError: no candidate is smaller.
    """
    choice = find_smaller(teacher)
    if choice is None:
        last = _candidates(teacher)[-1]
        size = outlined_size(last, teacher.domain.shape, teacher.classes)
        raise UsageError(
            f"{teacher.source.path}: no student that auto picks is smaller than the teacher, which has "
            f"{teacher_size(teacher)}; {last.name}, the smallest, has {size}. Use the teacher as it is, or name a "
            f"student: --student {last.name}, or your own with --student file.py:factory"
        )
    reason = (
        str(why_not_thinned)
        .removeprefix(f"{teacher.source.path}: ")
        .removeprefix(f"student '{THINNED}': ")
        .partition(";")[0]
    )
    return replace(choice, why=f"{choice.why}; the teacher's own graph is not thinned, because {reason}")


def find_smaller(teacher: Teacher) -> Choice | None:
    """The first candidate with fewer parameters and fewer multiply-adds than the teacher, or None."""
    shape, limit, candidates = teacher.domain.shape, teacher_size(teacher), _candidates(teacher)
    for entry in candidates:
        if outlined_size(entry, shape, teacher.classes).is_below(limit):
            names = ", ".join(candidate.name for candidate in candidates)
            why = f"picked for {in_words(shape)}: the first of {names} that is smaller than the teacher"
            return Choice(entry.name, why, entry.build)
    return None


def teacher_size(teacher: Teacher) -> Size:
    """The size of a teacher."""
    return Size(teacher.parameters_count, teacher.cost.multiply_adds)


def _candidates(teacher: Teacher) -> list[Architecture]:
    """Students for a teacher's inputs, the preferred first."""
    shape = teacher.domain.shape
    names = MLPS if len(shape) == 1 or flattens_first(teacher) else (*_preferred(shape), *CNNS)
    return [entry for entry in map(find, names) if entry is not None]


def _preferred(shape: Shape) -> tuple[str, ...]:
    """The papers' student for images of this shape, if there is one."""
    if len(shape) != 3:
        return ()
    if shape[0] == 1 and min(shape[1:]) >= 16 and max(shape[1:]) <= 40:
        return ("lenet5-half",)
    return ("alexnet-half",) if min(shape[1:]) >= 24 and max(shape[1:]) <= 64 else ()


def flattens_first(teacher: Teacher) -> bool:
    """Whether the first layer of a teacher is fully connected and reads whole samples, as that of an MLP does."""
    size = math.prod(teacher.domain.shape)
    node, inputs = next(iter(teacher.graph().graph.nodes)), None
    while node is not None:
        name = operator_name(node)
        if "MatMul" in name or "Gemm" in name or name == "zskd.Linear":
            return inputs is not None and len(inputs) == 2 and inputs[1] == size
        inputs = shape_of(node)
        if inputs is None or math.prod(inputs[1:]) != size:
            return False
        node = only_reader(node)
    return False
