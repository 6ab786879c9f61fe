"""The memory that this process may still take."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")

VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Of a control group: the files with its limit and its use, and the field of ``memory.stat`` that can be given up."""


def available_memory() -> int | None:
    """Number of bytes that are available on this machine, and within the limit of its container.

    The page cache counts as available, because the system gives it up. None where the system does not say (macOS, Windows).
    """
    values = (_of_machine(MEMINFO), *_of_containers(CGROUP_OF_PROCESS, CGROUPS))
    return min((value for value in values if value is not None), default=None)


def _of_machine(meminfo: Path) -> int | None:
    """``MemAvailable`` of Linux."""
    fields = _fields(meminfo)
    return None if "MemAvailable:" not in fields else 1024 * fields["MemAvailable:"]


def _of_containers(membership: Path, root: Path) -> list[int | None]:
    """What is left of the limit of each control group that the process is in.

    In a container, the groups above its own cannot be seen, and its own may be the root.
    """
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
    places = {controllers: path.strip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
    left = []
    for controller, top, files in (("", root, VERSION_2), ("memory", root / "memory", VERSION_1)):
        group = top / places.get(controller, "")
        left += [_of_group(place, *files) for place in (group, *group.parents) if place.is_relative_to(top)]
    return left


def _of_group(group: Path, limit: str, used: str, cache: str) -> int | None:
    try:
        most, now = (int((group / name).read_text(encoding="ascii")) for name in (limit, used))
    except (OSError, ValueError):  # there is no limit, which version 2 writes as "max"
        return None
    return max(0, most - now + _fields(group / "memory.stat").get(cache, 0))


def _fields(path: Path) -> dict[str, int]:
    """The first number of each line, by the word before it."""
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {words[0]: int(words[1]) for words in lines if len(words) > 1}
    except (OSError, ValueError):
        return {}
