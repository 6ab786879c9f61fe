"""Files of the user that the name of a student refers to."""

from __future__ import annotations

from pathlib import Path


def is_onnx_file(name: str) -> bool:
    """Whether a student's name is the path of an ONNX file."""
    return name.endswith(".onnx") and not name.startswith("thin:")


def own_file(name: str) -> Path | None:
    """The file that a student's name refers to: an ONNX file, or the code of "file.py:factory"; otherwise None."""
    if is_onnx_file(name):
        return Path(name)
    place = name.rpartition(":")[0]
    return Path(place) if place.endswith(".py") else None


def with_absolute_path(name: str) -> str:
    """A student's name, with the absolute path of the file that it refers to."""
    path = own_file(name)
    if path is None:
        return name
    return str(path.absolute()) if is_onnx_file(name) else f"{path.absolute()}:{name.rpartition(':')[2]}"
