"""Students from the timm package, an extra: "timm:NAME"."""

from __future__ import annotations

import difflib
from typing import cast

from torch import nn

from zskd_onnx.errors import MissingExtraError, UsageError
from zskd_onnx.students.zoo.architecture import Factory, Shape

TIMM = "timm:"


def timm_factory(name: str) -> Factory:
    """The factory of an architecture of timm, with random weights.

    Args:
        name: "timm:" and a name that ``timm.list_models()`` has, such as "timm:mobilenetv3_small_050". Weights and
            configurations from elsewhere ("hf-hub:...", "local-dir:...") are not taken.

    Raises:
        MissingExtraError: timm, or the torchvision that it needs, cannot be imported.
        UsageError: timm has no such architecture.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"student '{name}' needs timm and a torchvision built for the installed torch "
            f"({' '.join(str(error).split())[:160]}); install 'zskd-onnx[timm]' in an environment whose torch and "
            "torchvision match, or choose another student"
        ) from error
    architecture = name.removeprefix(TIMM)
    known = timm.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, 1)
        hint = f"did you mean '{close[0]}'?" if close else "timm.list_models() has all names"
        raise UsageError(f"student '{name}': timm {timm.__version__} has no architecture of this name; {hint}")

    def factory(shape: Shape, classes: int) -> nn.Module:
        if len(shape) != 3:
            raise UsageError(f"student '{name}': timm's architectures take images, and a sample has the shape {shape}")
        options = {"num_classes": classes, "in_chans": shape[0]}
        try:  # transformers are built for one size of image; convolutional networks take any, and no such argument
            module = timm.create_model(architecture, img_size=shape[1:], **options)
        except TypeError:
            module = timm.create_model(architecture, **options)
        return cast(nn.Module, module)

    return factory
