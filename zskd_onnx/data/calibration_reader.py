"""Synthesised samples for onnxruntime's quantiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file


class CalibrationReader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds of a model, batch by batch, from an .npz that ``synthesize`` wrote.

        quantize_static("model.onnx", "int8.onnx", CalibrationReader("set/samples.npz"))

    The file has one array, which bears the name of the model's input. Olive and other tools that take a
    ``CalibrationDataReader`` take this one.
    """

    def __init__(self, path: str | Path, batch_size: int = 1) -> None:
        """
        Args:
            path: the .npz file.
            batch_size: number of samples of a feed; the last feed may have fewer.

        Raises:
            UsageError: there is no such file, or it is something else.
        """
        path = Path(path)
        expect_file(path, "samples.npz as 'zskd-onnx synthesize' writes it")
        try:
            with np.load(path, allow_pickle=False) as file:
                ((self._name, self._samples),) = ((name, file[name]) for name in file.files)
        except (ValueError, OSError, EOFError) as error:
            raise UsageError(
                f"{path}: expected an .npz with one array, named as the model's input ({error})"
            ) from error
        self._batch_size = batch_size
        self._next = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed: input -> samples (batch_size, ...); None after the last one."""
        batch = self._samples[self._next : self._next + self._batch_size]
        self._next += self._batch_size
        return {self._name: batch} if len(batch) else None

    def rewind(self) -> None:
        """Start again with the first feed."""
        self._next = 0
