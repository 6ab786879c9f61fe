"""A distillation on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import atomic_write


class Checkpoint:
    """A file that holds the state of one stage of training.

    Attributes:
        path: of the file.
        identity: what the training depends on; another's state is not taken up.
        interval: seconds between two writes.
        earlier: plain values that the stages before left, written with each state.
    """

    def __init__(self, path: Path, identity: str, interval: float = 60.0) -> None:
        self.path = path
        self.identity = identity
        self.interval = interval
        self.earlier: dict[str, Any] = {}
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._last >= self.interval

    def save(self, stage: str, state: dict[str, Any]) -> None:
        """Replace the file whole.

        Raises:
            OSError: it cannot be written.
        """
        content = io.BytesIO()
        torch.save({"identity": self.identity, "stage": stage, "earlier": self.earlier, **state}, content)
        with atomic_write(self.path) as partial:
            partial.write_bytes(content.getbuffer())
        self._last = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """What was saved of the same training, or None. Only tensors and plain values are read, never code.

        Raises:
            UsageError: the file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch does not compare the checksums
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"{damaged} differs from its checksum")
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
            raise UsageError(
                f"{self.path}: damaged checkpoint ({error}); remove it and --resume trains anew"
            ) from error
        return state if state.get("identity") == self.identity else None
