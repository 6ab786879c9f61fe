"""Students from the user's own code: ``package.module:factory`` or ``file.py:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.zoo.architecture import Factory, Shape

CHECKED_BATCH_SIZES = (2, 3)


def load_factory(reference: str) -> Factory:
    """The factory that a reference names; its module is imported.

    Args:
        reference: "package.module:factory" or "file.py:factory". The factory takes the shape of one
            sample and the number of classes, and returns a module.

    Raises:
        UsageError: there is no such file, module or callable, or the import fails.
    """
    source, _, attribute = reference.rpartition(":")
    try:
        if source.endswith(".py"):
            path = Path(source)
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
            module = importlib.import_module(source)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"student '{reference}': cannot import {source} ({type(error).__name__}: {error})") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(
            f"student '{reference}': {source} has no callable '{attribute}'; expected factory(shape, classes)"
        )
    return factory


def build_custom(factory: Factory, reference: str, shape: Shape, classes: int) -> nn.Module:
    """The module that a user's factory returns, in inference mode, after a check that it can be trained.

    Standard output of the user's code is redirected to standard error.

    Raises:
        UsageError: the factory fails, or its module does not map samples of this shape to trainable logits.
    """
    try:
        with redirect_stdout(sys.stderr):  # standard output is for results
            module = factory(shape, classes)
            _check(module, reference, shape, classes)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"student {reference}: {type(error).__name__}: {error}") from error
    return module


def _check(module: object, reference: str, shape: Shape, classes: int) -> None:
    """Raise UsageError unless the module maps batches of any size to logits that can be trained.

    The check runs before synthesis, which may take hours.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"student {reference}: expected a torch.nn.Module, got {type(module).__name__}")
    module.eval()
    for count in CHECKED_BATCH_SIZES:
        logits = module(torch.zeros((count, *shape)))
        if not isinstance(logits, torch.Tensor) or logits.shape != (count, classes):
            result = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UsageError(
                f"student {reference}: expected logits of shape ({count}, {classes}) for {count} inputs of {shape}, "
                f"got {result}"
            )
    if not logits.isfinite().all():
        raise UsageError(
            f"student {reference}: the untrained module returns NaN or infinity; check its initial weights"
        )
    if not logits.requires_grad:
        raise UsageError(
            f"student {reference}: the logits depend on no parameter that requires a gradient; "
            "expected parameters that can be trained"
        )
