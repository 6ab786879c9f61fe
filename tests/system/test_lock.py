"""Locks on files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zskd_onnx.system.lock import LockedError, exclusive

HOLD = """
import sys, time
from pathlib import Path
from zskd_onnx.system.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_owner_is_refused_and_learns_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path):
        with pytest.raises(LockedError) as error, exclusive(path):
            pass
        assert error.value.process == os.getpid()
        assert path.exists()
    assert not path.exists()
    with exclusive(path):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(LockedError) as error, exclusive(path):
            pass
        assert error.value.process == process.pid
        process.send_signal(signal.SIGKILL)
    assert path.exists()
    with exclusive(path):
        pass


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), exclusive(tmp_path / "no folder" / "lock"):
        pass
