"""Which student: by name, from the user's own code, or picked for the teacher."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.describe import outline, parameters
from zskd_onnx.students.zoo.registry import STUDENTS, Factory, Shape, find
from zskd_onnx.system.randomness import seed_for

HALVES = ("lenet5-half", "alexnet-half")


@dataclass(frozen=True)
class Choice:
    """A student and the reason for it.

    Attributes:
        name: the architecture's name, or where the user's factory lies.
        why: one line.
        factory: builds it from the shape of a sample and the class count.
    """

    name: str
    why: str
    factory: Factory


def choose(name: str, shape: Shape, teacher_parameters: int) -> Choice:
    """Resolve a student's name.

    Args:
        name: an architecture, "half" (the half-size net of the papers for this input), "auto",
            or ``package.module:factory`` or ``file.py:factory`` for the user's own.
        shape: one sample in the unit space.
        teacher_parameters: "auto" prefers students with fewer.

    Raises:
        UsageError: no such student, or it does not take such inputs.
    """
    if ":" in name:
        return Choice(name, "your own module", _own(name))
    if name == "auto":
        return _automatic(shape, teacher_parameters)
    if name == "half":
        for half in HALVES if len(shape) == 3 and shape[0] == 1 else reversed(HALVES):
            if STUDENTS[half].misfit(shape) is None:
                return Choice(half, f"the papers' half-size student for {_words(shape)}", STUDENTS[half].build)
        raise UsageError(f"student 'half': no half-size student takes {_words(shape)}; try --student auto")
    entry = find(name)
    if entry is None:
        nearest = difflib.get_close_matches(name, [*STUDENTS, "auto", "half"], 1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise UsageError(f"student '{name}': expected auto, half, {', '.join(STUDENTS)}, or file.py:factory{hint}")
    misfit = entry.misfit(shape)
    if misfit is not None:
        raise UsageError(f"student '{name}' does not suit {_words(shape)}: {misfit}; try --student auto")
    return Choice(name, "as asked", entry.build)


def build(choice: Choice, shape: Shape, classes: int, seed: int) -> nn.Module:
    """Make a student; the same seed gives the same weights.

    The global generator is seeded for the call and put back: torch's layers, and the user's own,
    draw their weights from it.

    Raises:
        UsageError: the user's factory fails, or gives no module that maps such inputs to K logits.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "student"))
        if ":" not in choice.name:
            return choice.factory(shape, classes).eval()
        try:
            with redirect_stdout(sys.stderr):  # what it prints is no result
                module = choice.factory(shape, classes)
                _check_own(module, choice.name, shape, classes)
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(f"student {choice.name}: {type(error).__name__}: {error}") from error
    return module


def _check_own(module: object, name: str, shape: Shape, classes: int) -> None:
    """Whether it maps batches of any size to logits, and can be trained; better now than after a synthesis."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"student {name}: expected a torch.nn.Module, got {type(module).__name__}")
    module.eval()
    for count in (2, 3):
        logits = module(torch.zeros((count, *shape)))
        if not isinstance(logits, torch.Tensor) or logits.shape != (count, classes):
            got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UsageError(
                f"student {name}: expected logits of shape ({count}, {classes}) for {count} inputs of {shape}, got {got}"
            )
    if not logits.isfinite().all():
        raise UsageError(f"student {name}: its logits hold NaN or infinity before any training; look at its weights")
    if not logits.requires_grad:
        raise UsageError(f"student {name}: no parameter that requires a gradient takes part; there is nothing to train")


def _words(shape: Shape) -> str:
    if len(shape) == 1:
        return f"vectors of {shape[0]} values"
    return f"{ {2: 'sequences', 3: 'images', 4: 'volumes'}[len(shape)] } of shape {shape}"


def _automatic(shape: Shape, teacher_parameters: int) -> Choice:
    if len(shape) == 1:
        preferred = ["mlp", "mlp-small"]
    elif len(shape) != 3:
        preferred = ["cnn", "cnn-small"]
    elif shape[0] == 1 and min(shape[1:]) >= 16 and max(shape[1:]) <= 40:
        preferred = ["lenet5-half", "cnn", "cnn-small"]
    elif min(shape[1:]) >= 24 and max(shape[1:]) <= 64:
        preferred = ["alexnet-half", "cnn", "cnn-small"]
    else:
        preferred = ["cnn", "cnn-small"]
    # They do not depend on the class count by more than the last layer.
    found = {name: parameters(outline(STUDENTS[name], shape, 2)) for name in preferred}
    for name in preferred:
        if found[name] < teacher_parameters:
            why = f"picked for {_words(shape)}: the first of {', '.join(preferred)} that is smaller than the teacher"
            return Choice(name, why, STUDENTS[name].build)
    smallest = min(preferred, key=lambda name: found[name])
    why = (
        f"picked for {_words(shape)}: none of {', '.join(preferred)} is smaller than the teacher, this is the smallest"
    )
    return Choice(smallest, why, STUDENTS[smallest].build)


def _own(reference: str) -> Factory:
    """Import ``package.module:factory`` or ``file.py:factory``."""
    place, _, attribute = reference.rpartition(":")
    try:
        if place.endswith(".py"):
            path = Path(place)
            if not path.is_file():
                raise UsageError(f"student '{reference}': no such file {path}")
            spec = importlib.util.spec_from_file_location(f"zskd_student_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            with redirect_stdout(sys.stderr):
                spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"student '{reference}': cannot import {place} ({type(error).__name__}: {error})") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(
            f"student '{reference}': {place} has no callable '{attribute}'; expected factory(shape, classes)"
        )
    return factory
