"""Copies of transfer sets at URLs: a set is copied to a folder before it is read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from zskd_onnx.data.remote_folder import RemoteFolder
from zskd_onnx.data.transfer_set import INDEX, Shard, TransferSet
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Event, Listener
from zskd_onnx.system.files import atomic_write

INDEX_LIMIT = 64 << 20
"""Largest index in bytes; a shard takes about 150."""

NAME = re.compile(r"\w[\w.-]*\.safetensors", re.ASCII)
"""Names of shards that are copied."""


def copy_index(url: str, folder: Path) -> TransferSet:
    """Copy the index of the set at a URL, and nothing else.

    Raises:
        UsageError: there is none, it cannot be read or is damaged, or a shard has another name than ``NAME``.
    """
    content = bytearray()
    for chunk in RemoteFolder(url).chunks(INDEX):
        content += chunk
        if len(content) > INDEX_LIMIT:
            raise UsageError(
                f"{url}/{INDEX}: is larger than {INDEX_LIMIT:,} bytes; expected the index of a transfer set"
            )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / INDEX) as partial:
        partial.write_bytes(content)
    return TransferSet.open(folder)


def copy_set(url: str, folder: Path, listener: Listener, count: int | None = None) -> None:
    """Copy what is missing or damaged in a folder of the set at a URL.

    Called again after an interruption, it copies the rest. The index that the folder has stays, and so the set that a
    run has begun with. Nothing is asked of the URL if the folder is complete.

    Args:
        count: number of samples that are needed, from the first; None takes those that the run that made the set uses.

    Raises:
        UsageError: a file cannot be read, or differs from its digest in the index.
    """
    copied = TransferSet.open(folder) if (folder / INDEX).is_file() else copy_index(url, folder)
    below = min(copied.count, count or copied.requested or copied.count)
    missing = [shard for _, shard in copied.damaged(below)]
    if not missing:
        return
    remote, total, done = RemoteFolder(url), sum(shard.count for shard in missing), 0
    listener(Event("note", "transfer set", f"copying {total:,} samples of {url} to {folder}"))
    for shard in missing:
        listener(Event("progress", "transfer set", completed=done, total=total))
        _copy_shard(remote, shard, folder)
        done += shard.count
    listener(Event("done", "transfer set", f"{total:,} samples", total, total))


def _copy_shard(remote: RemoteFolder, shard: Shard, folder: Path) -> None:
    if NAME.fullmatch(shard.file) is None:
        raise UsageError(
            f"{remote.url}/{INDEX}: a shard is named {shard.file!r}; expected shard-00000.safetensors and the like"
        )
    digest = hashlib.sha256()
    with atomic_write(folder / shard.file) as partial:
        with partial.open("wb") as file:
            for chunk in remote.chunks(shard.file):
                digest.update(chunk)
                file.write(chunk)
        if shard.sha256 not in (None, digest.hexdigest()):
            raise UsageError(
                f"{remote.url}/{shard.file}: its SHA-256 differs from the one in the index; the set is damaged, or has changed "
                "since the run began: start anew with --overwrite"
            )
