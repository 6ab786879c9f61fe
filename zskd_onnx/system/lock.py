"""A lock on a file, which the operating system releases when the process ends in any way."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCKED_BYTE = 1 << 30
"""Position of the locked byte on Windows; a lock there would keep others from reading the process number."""


PAUSE = 0.02
"""Seconds between two attempts to lock."""


class LockedError(Exception):
    """Another process has the lock.

    Attributes:
        process: its number, None if unknown.
    """

    def __init__(self, process: int | None) -> None:
        super().__init__(process)
        self.process = process


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file within the context; the file holds the process number, and is removed at the end.

    A file that a killed process left behind locks nothing. Where the file system has no locks, nothing is locked.

    Raises:
        LockedError: another context holds the lock, in this process or in another one.
        OSError: the file cannot be written.
    """
    descriptor = _locked(path)
    try:
        with suppress(OSError):  # a full disk: the number only helps the message of another process
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        if sys.platform == "win32":
            os.close(descriptor)  # an open file cannot be removed there
        with suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(descriptor)


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """As ``exclusive``, but wait while another process holds the lock."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive(path))
                break
            except LockedError:
                time.sleep(PAUSE)
        yield


def _locked(path: Path) -> int:
    """Descriptor of the file, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last owner removed the file in between


def _lock(descriptor: int) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        content = os.read(descriptor, 32)
        raise LockedError(int(content) if content.isdigit() else None) from error
    except OSError:
        return
