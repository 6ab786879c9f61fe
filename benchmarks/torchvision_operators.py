"""Make torchvision importable together with a CPU build of torch.

torchvision on the package registry is built for CUDA. With a CPU build of torch, its compiled
operators do not load, but its Python part needs them to be declared. The classifiers here do not
use them, so a declaration without an implementation is enough.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
"""The declarations exist as long as this object."""


def declare() -> None:
    """Declare torchvision's operators if they are not loaded; call it before importing torchvision."""
    if hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        files = importlib.metadata.files("torchvision") or []
    except importlib.metadata.PackageNotFoundError:
        return
    source = next(f for f in files if str(f).endswith("torchvision/_meta_registrations.py")).locate()
    text = Path(str(source)).read_text(encoding="utf-8")
    for names in set(re.findall(r'register_meta\("(\w+)"\)|register_fake\("torchvision::(\w+)"\)', text)):
        _LIBRARY.define(f"{''.join(names)}(...) -> Tensor")
