"""Output whose reader has gone away, as in ``zskd-onnx recipes list | head -1``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Pipe:
    """A stream that discards what nobody reads, so that the work goes on and the exit code tells of the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self.discard()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self.discard()

    def discard(self) -> None:
        """Discard what is in the buffer, and all that follows."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


@contextmanager
def ignoring_closed_pipes() -> Iterator[None]:
    """Let a command go on when the reader of its standard output or error goes away."""
    before = sys.stdout, sys.stderr
    pipes = _Pipe(sys.stdout), _Pipe(sys.stderr)
    sys.stdout, sys.stderr = pipes
    try:
        yield
    finally:
        for pipe in pipes:
            try:
                pipe.flush()
            except OSError:  # a full disk, which the command has reported; Python would try again at its end
                pipe.discard()
        sys.stdout, sys.stderr = before
