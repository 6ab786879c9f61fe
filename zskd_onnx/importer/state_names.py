"""Names under which a module holds the tensors of a file."""

from __future__ import annotations

import keyword
import re

from torch import Tensor, nn

UNSAFE = re.compile(r"[^ -~]|[\"\\{}]")
"""Characters that may not stand in the Python code that torch.fx generates."""


def state_name(root: nn.Module, name: str, tensor: Tensor) -> str:
    """Register a parameter or a buffer, and return its key in ``state_dict``.

    The key is ``name``, whose dots lead into nested modules. A name that is no path, or that clashes with
    another one, has underscores in place of dots and other characters.

    Args:
        root: the module that holds the tensor.
        name: of the tensor in the file.
        tensor: a parameter, or a tensor that becomes a buffer.
    """
    path = name.split(".")
    if any(not part or UNSAFE.search(part) or keyword.iskeyword(part) for part in path) or _clashes(root, path):
        path = [free_attribute(root, identifier(name))]
    owner = root
    for part in path[:-1]:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(path[-1], tensor)
    else:
        owner.register_buffer(path[-1], tensor)
    return ".".join(path)


def identifier(name: str | None) -> str:
    """An ONNX name as a Python identifier."""
    cleaned = re.sub(r"\W", "_", name or "value", flags=re.ASCII)
    cleaned = cleaned if not cleaned[0].isdigit() else f"_{cleaned}"
    return f"{cleaned}_" if keyword.iskeyword(cleaned) else cleaned


def free_attribute(module: nn.Module, name: str) -> str:
    """``name``, or where the module has such an attribute, ``name`` with underscores behind it."""
    while hasattr(module, name):
        name += "_"
    return name


def _clashes(root: nn.Module, path: list[str]) -> bool:
    """Whether an attribute that is no module stands in the way of a path, or anything at its end."""
    owner: nn.Module | None = root
    for part in path[:-1]:
        if owner is None:
            return False
        if hasattr(owner, part) and part not in owner._modules:
            return True
        owner = owner._modules.get(part)
    return owner is not None and hasattr(owner, path[-1])
