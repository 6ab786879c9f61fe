"""Reading of files below a URL, such as s3://bucket/folder, by means of fsspec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zskd_onnx.errors import MissingExtraError, UsageError

CHUNK = 1 << 20
"""Bytes that are read at once."""


def absolute_location(location: str | Path) -> str:
    """The absolute path of a folder, which may be a URL of this machine (file://); another URL is returned as it is.

    Raises:
        UsageError: the URL has a password, which the run would record.
    """
    text = str(location)
    if is_url(text) and (address := urlsplit(text)).password is not None:
        hidden = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
        raise UsageError(
            f"{hidden}: the URL has a password, which the run folder would keep; give it by the protocol's environment "
            "variables or configuration file"
        )
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    return text if is_url(text) else str(Path(text).absolute())


def is_url(location: str | Path) -> bool:
    """Whether a location is on another machine; ``absolute_location`` has made a path of those on this one."""
    return "://" in str(location)


class RemoteFolder:
    """A folder at a URL of any protocol that fsspec knows: s3, gs, http, hf, ssh and others.

    Attributes:
        url: as the user wrote it.
    """

    def __init__(self, url: str) -> None:
        """
        Raises:
            MissingExtraError: the package of the protocol is not installed.
            UsageError: fsspec does not know the protocol, or cannot connect.
        """
        from fsspec.core import url_to_fs  # here, because most runs read local files

        self.url = url
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:
            raise MissingExtraError(
                f"{url}: the package for this protocol is not installed ({_in_words(error)}); install it, or copy the "
                "folder and give its path"
            ) from error
        except Exception as error:  # each protocol has exceptions of its own
            self._fail("", error)
        self._root = str(root).rstrip("/")

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, piece by piece.

        Raises:
            UsageError: there is no such file, it cannot be read, or it ends too early.
        """
        try:
            with self._files.open(f"{self._root}/{name}", "rb") as file:
                size, count = self._size(file), 0
                while chunk := file.read(CHUNK):
                    count += len(chunk)
                    yield chunk
        except Exception as error:
            self._fail(name, error)
        if size is not None and count != size:
            raise UsageError(f"{self.url}/{name}: has {size} bytes, and {count} came; repeat with --resume")

    @staticmethod
    def _size(file: Any) -> int | None:
        """Number of bytes, where the protocol tells it."""
        size = getattr(file, "size", None)
        return size if isinstance(size, int) else None

    def _fail(self, name: str, error: Exception) -> NoReturn:
        place = f"{self.url.rstrip('/')}/{name}" if name else self.url
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"{place}: no such file; expected the URL of a transfer set's folder") from error
        raise UsageError(
            f"{place}: cannot be read ({_in_words(error)}); check the URL, the connection and your credentials"
        ) from error


def _in_words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
