"""torchvision beside a CPU build of torch.

Its package on the registry is built for CUDA, so none of its compiled operators load, and its
Python part asks for them on import. No classifier here uses them: declared without a body they
let the import pass.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
"""Declarations last as long as this does."""


def declare() -> None:
    """Declare torchvision's operators, if no build of it has; call before importing torchvision."""
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
