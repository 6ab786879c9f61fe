"""Memory and disk space of the machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from zskd_onnx.system.free_space import free_disk, resident_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell it in files")


def test_resident_memory_grows_with_an_array() -> None:
    before = resident_memory()
    array = np.ones(50_000_000, dtype=np.uint8)
    after = resident_memory()
    assert before is not None
    assert after is not None
    assert after - before > 0.8 * array.nbytes


def test_free_disk_of_a_folder_that_will_be_made(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "a" / "b") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
