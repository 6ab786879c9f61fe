"""Runs on a transfer set at a URL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.conftest import SMALL, Cli
from zskd_onnx import Cancelled, CompressionResult, Event, UsageError, compress, quantize
from zskd_onnx.pipeline.repeat_command import repeat_command
from zskd_onnx.pipeline.run_settings import read_settings

URL = "memory://bucket/set"


@pytest.fixture
def shards(finished: CompressionResult) -> Iterator[Path]:
    """The set of a finished run, which is also at ``URL``."""
    folder, files = finished.student.parent / "transfer-set", fsspec.filesystem("memory")
    for path in folder.iterdir():
        files.pipe(f"/bucket/set/{path.name}", path.read_bytes())
    yield folder
    forget()


def forget() -> None:
    """Remove the set at ``URL``."""
    files = fsspec.filesystem("memory")
    if files.exists("/bucket"):
        files.rm("/bucket", recursive=True)


def stop_at(kind: str, stage: str) -> Any:
    """A listener that ends the run at an event."""

    def listen(event: Event) -> None:
        if (event.kind, event.stage) == (kind, stage):
            raise Cancelled

    return listen


def test_a_run_copies_the_set(digits_file: Path, finished: CompressionResult, shards: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = compress(digits_file, tmp_path / "out", overrides=SMALL, transfer_set=URL, listener=events.append)
    assert result.student.read_bytes() == finished.student.read_bytes()
    assert next(event.text for event in events if event.kind == "done") == "400 samples"
    copied = tmp_path / "out" / "copied-set"
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == {p.name: p.read_bytes() for p in shards.iterdir()}
    recorded = json.loads(result.manifest.read_text())["inputs"]["transfer_set"]
    index = hashlib.sha256((shards / "index.json").read_bytes()).hexdigest()
    assert recorded == {"path": URL, "sha256": index}
    assert f"--transfer-set {URL} " in repeat_command(read_settings(tmp_path / "out" / "run.json"))


@pytest.mark.parametrize("event", [("note", "transfer set"), ("progress", "distillation")])
def test_an_interrupted_run_is_resumed(
    digits_file: Path, finished: CompressionResult, shards: Path, tmp_path: Path, event: tuple[str, str]
) -> None:
    """Before the set is copied, or after it, when nothing is asked of the URL any more."""
    with pytest.raises(Cancelled):
        compress(digits_file, tmp_path / "out", overrides=SMALL, transfer_set=URL, listener=stop_at(*event))
    with pytest.raises(UsageError, match="--transfer-set memory://other"):
        compress(None, tmp_path / "out", transfer_set="memory://other", resume=True)
    if event[0] == "progress":
        forget()
    result = compress(None, tmp_path / "out", resume=True)
    assert result.student.read_bytes() == finished.student.read_bytes()


def test_a_set_that_does_not_fit_replaces_nothing(
    digits_file: Path, finished: CompressionResult, shards: Path, tmp_path: Path
) -> None:
    options = {"overrides": SMALL, "transfer_set": URL}
    with pytest.raises(UsageError, match=r"^memory://bucket/set: made for another input domain"):
        compress(digits_file, tmp_path / "out", input_range=(0, 1), **options)
    with pytest.raises(UsageError, match=r"^memory://bucket/set: has 400 samples"):
        compress(digits_file, tmp_path / "out", overrides=["held_out=400"], transfer_set=URL)
    assert not (tmp_path / "out").exists()
    result = compress(digits_file, tmp_path / "out", **options)
    forget()
    with pytest.raises(UsageError, match=r"memory://bucket/set/index\.json: no such file"):
        compress(digits_file, tmp_path / "out", overwrite=True, **options)
    assert result.student.is_file()
    assert (tmp_path / "out" / "copied-set" / "index.json").is_file()


def test_another_run_in_the_folder_removes_the_copy(digits_file: Path, shards: Path, tmp_path: Path) -> None:
    compress(digits_file, tmp_path / "out", overrides=SMALL, transfer_set=URL)
    with pytest.raises(UsageError, match="copied-set: this run would remove or replace it"):
        compress(
            digits_file,
            tmp_path / "out",
            overrides=SMALL,
            transfer_set=f"file://{tmp_path}/out/copied-set",
            overwrite=True,
        )
    compress(digits_file, tmp_path / "out", overrides=SMALL, overwrite=True)
    assert not (tmp_path / "out" / "copied-set").exists()


def test_a_url_of_this_machine_is_a_path(digits_file: Path, shards: Path, tmp_path: Path) -> None:
    compress(digits_file, tmp_path / "out", overrides=SMALL, transfer_set=shards.as_uri())
    assert not (tmp_path / "out" / "copied-set").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["transfer_set"] == str(shards)


def test_a_url_with_a_password_is_refused(digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a password") as error:
        compress(digits_file, tmp_path / "out", overrides=SMALL, transfer_set="ftp://me:secret@host/set")
    assert "secret" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_quantiser_takes_a_set_at_a_url(digits_file: Path, shards: Path, tmp_path: Path) -> None:
    """The file is that of the set in a folder, and the copy is removed."""
    files = []
    for name, location in (("url", URL), ("folder", shards)):
        events: list[Event] = []
        made = quantize(digits_file, tmp_path / f"{name}.onnx", transfer_set=location, listener=events.append)
        assert made.samples == f"samples of {location}"
        assert any(event.stage == "transfer set" for event in events) == (name == "url")
        files.append((tmp_path / f"{name}.onnx").read_bytes())
    assert files[0] == files[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "url.onnx"]


def test_the_command_line_takes_urls(run: Cli, digits_file: Path, shards: Path) -> None:
    small = [part for setting in SMALL for part in ("--set", setting)]
    done = run("compress", digits_file, "--dry-run", *small, "--transfer-set", shards.as_uri())
    assert done.returncode == 0, done.stderr
    for url, message in (
        ("oss://bucket/set", "error: oss://bucket/set: the package for this protocol is not installed"),
        ("memory://elsewhere/set", "error: memory://elsewhere/set/index.json: no such file"),
    ):
        for dry in ([], ["--dry-run"]):
            done = run("compress", digits_file, *dry, *small, "--transfer-set", url)
            assert done.returncode == 2
            assert done.stderr.strip().splitlines()[-1].startswith(message)
            assert "Traceback" not in done.stderr
