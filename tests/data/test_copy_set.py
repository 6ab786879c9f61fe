"""Copies of transfer sets at URLs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from tests.conftest import file_size_limit
from zskd_onnx import MissingExtraError, UsageError
from zskd_onnx.data.copy_set import copy_index, copy_set
from zskd_onnx.data.remote_folder import RemoteFolder, absolute_location, is_url
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event, silent

URL = "memory://bucket/set"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A set of three shards in a folder, and at ``URL``."""
    folder = tmp_path / "source"
    transfer_set = TransferSet.create(folder, {"teacher": "a"})
    for number in range(3):
        transfer_set.add(transfer_set.count, torch.full((5, 1, 4, 4), number / 4), torch.rand(5, 3))
    upload(folder)
    yield folder
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def upload(folder: Path) -> None:
    files = fsspec.filesystem("memory")
    for path in folder.iterdir():
        files.pipe(f"/bucket/set/{path.name}", path.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("url", [URL, f"{URL}/"])
def test_a_copy_has_the_same_files(source: Path, tmp_path: Path, url: str) -> None:
    events: list[Event] = []
    copy_set(url, tmp_path / "copy", events.append)
    assert contents(tmp_path / "copy") == contents(source)
    assert [(event.completed, event.total) for event in events if event.kind == "progress"] == [
        (0, 15),
        (5, 15),
        (10, 15),
    ]


def test_samples_that_are_not_needed_are_not_copied(source: Path, tmp_path: Path) -> None:
    copy_set(URL, tmp_path / "copy", silent, 6)
    shards = ["index.json", "shard-00000000.safetensors", "shard-00000005.safetensors"]
    assert sorted(contents(tmp_path / "copy")) == shards
    assert len(TransferSet.open(tmp_path / "copy").load(6).inputs) == 6


def test_an_interrupted_copy_is_continued(source: Path, tmp_path: Path) -> None:
    """Shards that are there are not read again; a damaged one is."""
    folder = tmp_path / "copy"

    def interrupt(event: Event) -> None:
        if event.completed == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_set(URL, folder, interrupt)
    assert len(contents(folder)) == 3
    (folder / "shard-00000000.safetensors").write_bytes(b"damaged")
    fsspec.filesystem("memory").rm("/bucket/set/shard-00000005.safetensors")
    copy_set(URL, folder, silent)
    assert contents(folder) == contents(source)


def test_nothing_is_asked_for_a_complete_copy(source: Path, tmp_path: Path) -> None:
    copy_set(URL, tmp_path / "copy", silent)
    copy_set("unknown://host", tmp_path / "copy", silent)


def test_a_set_that_has_changed_since(source: Path, tmp_path: Path) -> None:
    """The index of the beginning stays, and a shard of another one is refused."""
    folder = tmp_path / "copy"
    copy_set(URL, folder, silent)
    (folder / "shard-00000005.safetensors").unlink()
    other = TransferSet.create(tmp_path / "other", {})
    for _ in range(3):
        other.add(other.count, torch.rand(5, 1, 4, 4), torch.rand(5, 3))
    upload(other.folder)
    with pytest.raises(
        UsageError, match=r"memory://bucket/set/shard-00000005\.safetensors: .*SHA-256.*--overwrite"
    ) as error:
        copy_set(URL, folder, silent)
    assert "\n" not in str(error.value)
    assert len(contents(folder)) == 3  # no part of it stays


def test_a_full_disk_is_no_fault_of_the_url(source: Path, tmp_path: Path) -> None:
    with file_size_limit(500), pytest.raises(OSError, match=r"index\.json|shard-00000000"):
        copy_set(URL, tmp_path / "copy", silent)


@pytest.mark.parametrize(
    "name",
    ["../shard.safetensors", "..", "index.json", ".hidden.safetensors", "C:x.safetensors", "a/b.safetensors", ""],
)
def test_other_files_are_not_written(source: Path, tmp_path: Path, name: str) -> None:
    """Whatever the index names."""
    index = json.loads((source / "index.json").read_text())
    index["shards"][0]["file"] = name
    (source / "index.json").write_text(json.dumps(index))
    upload(source)
    with pytest.raises(UsageError, match=r"index\.json: a shard"):
        copy_set(URL, tmp_path / "below" / "copy", silent)
    assert [path.name for path in (tmp_path / "below").rglob("*")] == ["copy", "index.json"]


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"schema_version": 99}', b"\xff"])
def test_a_damaged_index(source: Path, tmp_path: Path, index: bytes) -> None:
    fsspec.filesystem("memory").pipe("/bucket/set/index.json", index)
    with pytest.raises(UsageError, match=r"index\.json: "):
        copy_index(URL, tmp_path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://nothing/here", r"memory://nothing/here/index\.json: no such file"),
        ("unknown://host/set", r"unknown://host/set: .*Protocol not known: unknown"),
        ("memory", "memory"),
    ],
)
def test_a_url_that_leads_nowhere(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        copy_index(url, tmp_path)
    assert "\n" not in str(error.value)


def test_a_protocol_without_its_package() -> None:
    """The error names the package. One of the protocols of fsspec is never installed here."""
    with pytest.raises(MissingExtraError, match=r"^oss://bucket/set: the package .*ossfs.*install it") as error:
        RemoteFolder("oss://bucket/set")
    assert error.value.exit_code == 2


def test_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_location("set") == absolute_location(Path("set")) == str(tmp_path / "set")
    assert absolute_location(f"file://{tmp_path}/a%20b") == str(tmp_path / "a b")
    assert absolute_location("s3://bucket/set") == "s3://bucket/set"
    assert [is_url(place) for place in ("s3://bucket/set", "simplecache::s3://b", "/a/b", "C:\\set")] == [
        True,
        True,
        False,
        False,
    ]
