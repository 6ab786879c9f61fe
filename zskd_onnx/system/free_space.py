"""The memory that this process holds, and the free space of a disk."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

STATM = Path("/proc/self/statm")
"""Where Linux tells the memory of the process; other systems have no such file."""


def resident_memory() -> int | None:
    """Bytes of memory that this process holds, or None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def free_disk(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be."""
    folder = folder.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if os.path.exists(path))).free
