"""The memory that a process may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from zskd_onnx.system import available_memory as module
from zskd_onnx.system.available_memory import available_memory

GB = 10**9


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a machine that has 8 GB of 16 left, and no container."""
    monkeypatch.setattr(module, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "CGROUP_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "groups")
    (tmp_path / "meminfo").write_text("MemTotal: 15625000 kB\nMemAvailable:    7812500 kB\nHugePages_Total:   0\n")
    return tmp_path


def limit(group: Path, limit: str, used: int, cache: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - cache}\nfile {cache}\ninactive_file {cache}\n")


def test_this_machine_says_it() -> None:
    available = available_memory()
    if not Path("/proc/meminfo").is_file():
        assert available is None
        return
    assert available is not None
    assert 0 < available < 1 << 50
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            assert available <= 1024 * int(line.split()[1])


def test_of_a_machine(machine: Path) -> None:
    assert available_memory() == 8 * GB


def test_of_a_container(machine: Path) -> None:
    """Its page cache can be given up."""
    (machine / "cgroup").write_text("0::/\n")
    limit(machine / "groups", str(2 * GB), used=GB, cache=GB // 2)
    assert available_memory() == 3 * GB // 2


def test_of_the_smallest_group(machine: Path) -> None:
    (machine / "cgroup").write_text("1:name=systemd:/other\n0::/user/run\n")
    limit(machine / "groups" / "user" / "run", "max", used=GB, cache=0)
    limit(machine / "groups" / "user", str(4 * GB), used=GB, cache=0)
    assert available_memory() == 3 * GB
    limit(machine / "groups" / "user", str(GB), used=2 * GB, cache=0)
    assert available_memory() == 0


def test_of_a_container_of_version_1(machine: Path) -> None:
    """Its own group is seen as the root, under a path that does not exist in the container."""
    (machine / "cgroup").write_text("4:memory:/docker/abc\n0::/\n")
    group = machine / "groups" / "memory"
    group.mkdir(parents=True)
    for name, value in (("limit_in_bytes", 2 * GB), ("usage_in_bytes", GB)):
        (group / f"memory.{name}").write_text(f"{value}\n")
    (group / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {GB // 4}\n")
    assert available_memory() == 5 * GB // 4
    (group / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")  # none
    assert available_memory() == 8 * GB


def test_of_a_system_that_does_not_say_it(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert available_memory() is None
    (machine / "meminfo").write_text("no numbers\n")
    assert available_memory() is None
