"""Shards whose headers are wrong: each is an error of one line, and nothing is allocated that they claim."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zskd_onnx import UsageError
from zskd_onnx.data.transfer_set import TransferSet

HUGE = 5 * 10**12


def shard(folder: Path) -> Path:
    return folder / "shard-00000000.safetensors"


def rewrite(folder: Path, content: bytes, count: int = 5) -> None:
    """Replace the shard; the index has its digest and a number of samples."""
    shard(folder).write_bytes(content)
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0].update(count=count, sha256=hashlib.sha256(content).hexdigest())
    (folder / "index.json").write_text(json.dumps(index))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TransferSet.create(tmp_path, {}).add(0, torch.rand(5, 1, 4, 4), torch.rand(5, 3))
    return tmp_path


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and its data."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def assert_refused(folder: Path, reason: str) -> None:
    for limit in (0, 1 << 50):
        with pytest.raises(UsageError, match=rf"shard-00000000\.safetensors: damaged.*{reason}.*--resume") as error:
            TransferSet.open(folder).load(limit=limit)
        assert "\n" not in str(error.value)


def test_a_header_that_is_right(folder: Path) -> None:
    """The helpers of this module write what is read."""
    header, data = parts(shard(folder).read_bytes())
    rewrite(folder, joined({"__metadata__": {"key": "value"}, **header}, data))
    assert len(TransferSet.open(folder).load(limit=0).inputs) == 5


INPUTS, TARGETS = {"dtype": "F16", "shape": [5, 1, 4, 4]}, {"dtype": "F32", "shape": [5, 3]}
"""160 bytes and 60 bytes."""


@pytest.mark.parametrize(
    ("inputs", "targets", "reason"),
    [
        ({**INPUTS, "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [164, 224]}, "164 to 224"),
        ({**INPUTS, "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [100, 160]}, "100 to 160"),
        ({**INPUTS, "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [160, 10**18]}, "describes"),
        ({**INPUTS, "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [160, 150]}, "160 to 150"),
        ({**INPUTS, "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [-1, 60]}, "no header"),
        ({**INPUTS, "data_offsets": [0, 160.0]}, {**TARGETS, "data_offsets": [160, 220]}, "no header"),
        ({**INPUTS, "data_offsets": [0, 160, 1]}, {**TARGETS, "data_offsets": [160, 220]}, "too many|no header"),
        ({**INPUTS, "data_offsets": [0, 60]}, {**TARGETS, "data_offsets": [60, 220]}, "has 60 bytes"),
        (
            {**INPUTS, "shape": [5, 1, 4, 5], "data_offsets": [0, 160]},
            {**TARGETS, "data_offsets": [160, 220]},
            "has 160 bytes",
        ),
        (
            {**INPUTS, "shape": [6, 1, 4, 4], "data_offsets": [0, 160]},
            {**TARGETS, "data_offsets": [160, 220]},
            "expected 5 samples",
        ),
        ({**INPUTS, "shape": [], "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [160, 220]}, "expected 5"),
        ({**INPUTS, "shape": 5, "data_offsets": [0, 160]}, {**TARGETS, "data_offsets": [160, 220]}, "no header"),
        (
            {"dtype": "F32", "shape": [5, 1, 2, 4], "data_offsets": [0, 160]},
            {**TARGETS, "data_offsets": [160, 220]},
            "expected F16",
        ),
        ({**INPUTS, "data_offsets": [0, 160]}, {"dtype": "F32", "data_offsets": [160, 220]}, "no header"),
        ({**INPUTS, "data_offsets": [0, 160]}, 7, "no header"),
    ],
)
def test_a_header_that_lies(folder: Path, inputs: Any, targets: Any, reason: str) -> None:
    _, data = parts(shard(folder).read_bytes())
    rewrite(folder, joined({"inputs": inputs, "targets": targets}, data))
    assert_refused(folder, reason)


def test_a_header_and_an_index_that_claim_terabytes(folder: Path) -> None:
    _, data = parts(shard(folder).read_bytes())
    inputs = {"dtype": "F16", "shape": [HUGE, 1, 4, 4], "data_offsets": [0, 160]}
    targets = {"dtype": "F32", "shape": [HUGE, 3], "data_offsets": [160, 220]}
    rewrite(folder, joined({"inputs": inputs, "targets": targets}, data), HUGE)
    assert_refused(folder, "has 160 bytes")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has 0 bytes"),
        (b"1234", "has 4 bytes"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "claims a header"),
        ((1000).to_bytes(8, "little") + b"{}", "claims a header"),
        (joined(b"{", b""), "Expecting"),
        (joined(b"\xff\xff", b""), "decode"),
        (joined(b"[" * 100_000, b""), "no header"),
        (joined([], b""), "no header"),
        (joined({}, b""), "no tensor inputs"),
        (joined({}, b"data"), "describes"),
    ],
)
def test_a_file_that_is_no_shard(folder: Path, content: bytes, reason: str) -> None:
    rewrite(folder, content)
    assert_refused(folder, reason)


def test_a_shard_that_is_cut_or_longer(folder: Path) -> None:
    content = shard(folder).read_bytes()
    for changed in (content[:-10], content + b"more"):
        rewrite(folder, changed)
        assert_refused(folder, "describes")


def test_a_folder_in_place_of_a_shard(folder: Path) -> None:
    shard(folder).unlink()
    shard(folder).mkdir()
    assert_refused(folder, "directory")
