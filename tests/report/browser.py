"""A headless Chromium that is driven over a pair of pipes by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

needs_chromium = pytest.mark.skipif(CHROMIUM is None or os.name != "posix", reason="Chromium is not installed")


@dataclass(frozen=True)
class Visit:
    """What a browser did with a page.

    Attributes:
        requests: addresses that it asked for, without data URIs.
        messages: errors and warnings of its console.
        overflow: pixels by which the page is wider than the window.
        screenshot: of the whole page, PNG.
    """

    requests: list[str]
    messages: list[str]
    overflow: int
    screenshot: bytes


class Browser:
    """One tab of a running browser."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer, self._number = b"", 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def visit(self, page: Path, width: int, *, scheme: str = "light") -> Visit:
        """Open a page in a window of a width, in CSS pixels, and a colour scheme, "light" or "dark"."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())
        sizes = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        overflow = self.call("Runtime.evaluate", expression=sizes)["result"]["value"]
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        return Visit(self._requests(), self._messages(), int(overflow), base64.b64decode(image))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol; events that come before it are kept."""
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            request["sessionId"] = self._session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _requests(self) -> list[str]:
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def _messages(self) -> list[str]:
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        spoken = [e for e in self.events if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
        return [entry["text"] for entry in entries] + [json.dumps(event["params"]) for event in spoken]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with an empty profile."""
    assert CHROMIUM is not None
    (browser_reads, write), (read, browser_writes) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The shell moves the pipes to the descriptors 3 and 4, where the browser expects them.
        command = f'exec "$0" "$@" 3<&{browser_reads} 4>&{browser_writes}'
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        process = subprocess.Popen(
            ["/bin/bash", "-c", command, CHROMIUM, *options],
            pass_fds=(browser_reads, browser_writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(browser_reads)
        os.close(browser_writes)
        try:
            yield Browser(write, read)
        finally:
            os.close(write)
            os.close(read)
            process.terminate()
            process.wait(timeout=20)
