"""The files beside an ONNX file that hold its weights."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError


def external_files(path: Path) -> list[Path]:
    """The files with external data of an ONNX file, each once, by name; those that are missing are left out.

    A file that cannot be parsed has none, and neither counts what lies outside its folder, which the importer refuses.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        return []
    folder = path.parent.resolve()
    places = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [place for place in sorted((folder / name).resolve() for name in places) if _is_inside(place, folder)]


def _is_inside(place: Path, folder: Path) -> bool:
    return place.is_relative_to(folder) and place.is_file()
