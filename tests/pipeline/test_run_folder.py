"""The output folder of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from zskd_onnx import Cancelled, UsageError, ZskdError
from zskd_onnx.pipeline.check_output import check_output
from zskd_onnx.pipeline.run_folder import OpenFolder, output_folder
from zskd_onnx.pipeline.run_settings import RunSettings, new_settings

NEW = {"overwrite": False, "resume": False}
OVERWRITE = {"overwrite": True, "resume": False}
RESUME = {"overwrite": False, "resume": True}


@pytest.fixture
def settings(digits_file: Path) -> RunSettings:
    return new_settings(recipe=None, overrides=(), seed=None, init=None, teacher=digits_file)


def work(run: OpenFolder) -> None:
    """Leave what a run leaves before it has a student."""
    run.start()
    (run.path / "checkpoint.pt").write_bytes(b"state")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_check_creates_no_folder(tmp_path: Path, settings: RunSettings) -> None:
    check_output(tmp_path / "a" / "b", overwrite=False)
    assert list(tmp_path.iterdir()) == []
    with output_folder(tmp_path / "a" / "b", settings, **NEW) as run:
        assert run.path.is_dir()
    assert names(tmp_path / "a" / "b") == {"run.json"}


def test_only_empty_folders_are_accepted_without_an_option(tmp_path: Path) -> None:
    check_output(tmp_path, overwrite=False)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        check_output(tmp_path / "out", overwrite=True)
    with pytest.raises(UsageError, match="--overwrite"):
        check_output(tmp_path, overwrite=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of another user")
@pytest.mark.parametrize("name", ["shut", "shut/a/b"])
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "shut").mkdir()
    tmp_path.chmod(0o755)
    (tmp_path / "shut").chmod(0o555)
    child = os.fork()
    if child == 0:
        code = 0
        try:
            os.chdir(tmp_path)  # the folders above may be closed to other users
            if os.getuid() == 0:
                os.setuid(65534)  # root may write anywhere
            check_output(Path(name), overwrite=False)
        except UsageError as error:
            code = 2 if "choose another --output" in str(error) else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


def fail(folder: Path, settings: RunSettings, error: BaseException, begin: Callable[[OpenFolder], None], **how: bool):
    with output_folder(folder, settings, **how) as run:
        begin(run)
        raise error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), Cancelled(), ZskdError("a"), OSError(28, "No space left"), RuntimeError("a")]
)
def test_whatever_ends_a_run_its_work_stays(tmp_path: Path, settings: RunSettings, error: BaseException) -> None:
    folder = tmp_path / "the out"
    with pytest.raises(type(error)) as raised:
        fail(folder, settings, error, work, **NEW)
    assert names(folder) == {"run.json", "checkpoint.pt"}
    assert raised.value.__notes__ == [
        f"the state of training kept in {folder}; to continue: zskd-onnx compress --resume --output '{folder}'"
    ]
    with output_folder(folder, settings, **RESUME) as run:
        run.start()
    assert names(folder) == {"run.json", "checkpoint.pt"}


@pytest.mark.parametrize("error", [ZskdError("a"), OSError(28, "No space left")])
def test_an_error_before_the_work_leaves_nothing(tmp_path: Path, settings: RunSettings, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        fail(tmp_path / "a" / "b", settings, error, lambda run: None, **NEW)
    assert not hasattr(raised.value, "__notes__")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "notes.txt").write_text("of the user")
    with pytest.raises(type(error)):
        fail(tmp_path, settings, error, lambda run: None, **OVERWRITE)
    assert names(tmp_path) == {"notes.txt"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled(), RuntimeError("of a listener")])
def test_a_run_stopped_before_the_work_can_be_resumed(
    tmp_path: Path, settings: RunSettings, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        fail(tmp_path / "out", settings, error, lambda run: None, **NEW)
    assert names(tmp_path / "out") == {"run.json"}
    assert raised.value.__notes__[0].startswith("no sample was made yet; to continue: ")


def test_overwriting_keeps_the_student_and_replaces_the_work(tmp_path: Path, settings: RunSettings) -> None:
    """And an error before the work leaves the earlier run as it was."""
    with output_folder(tmp_path, settings, **NEW) as run:
        work(run)
        for name in ("student.onnx", "manifest.json", "notes.txt"):
            (tmp_path / name).write_text("old")
        (tmp_path / "transfer-set").mkdir()
        (tmp_path / "transfer-set" / "index.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for error in (ZskdError("a"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            fail(tmp_path, settings, error, lambda run: None, **OVERWRITE)
        assert not hasattr(raised.value, "__notes__")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path, settings, KeyboardInterrupt(), lambda run: run.start(), **OVERWRITE)
    assert names(tmp_path) == {"run.json", "student.onnx", "manifest.json", "notes.txt"}


def test_a_second_run_is_refused(tmp_path: Path, settings: RunSettings) -> None:
    with output_folder(tmp_path / "out", settings, **NEW) as run:
        work(run)
        for how in (OVERWRITE, RESUME):
            with (
                pytest.raises(UsageError, match=r"out: another run \(process \d+\) writes to it"),
                output_folder(tmp_path / "out", settings, **how),
            ):
                pass
        assert names(tmp_path / "out") == {".run.lock", "run.json", "checkpoint.pt"}
    assert names(tmp_path / "out") == {"run.json", "checkpoint.pt"}


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that not even root can write")
@pytest.mark.parametrize("folder", [Path("/sys/kernel"), Path("/sys/kernel/out")])
def test_a_folder_that_cannot_be_written(folder: Path, settings: RunSettings) -> None:
    with (
        pytest.raises(UsageError, match=f"{folder}: cannot be written"),
        output_folder(folder, settings, **OVERWRITE),
    ):
        pass


def test_a_lock_of_a_killed_run_is_no_content(tmp_path: Path, settings: RunSettings) -> None:
    (tmp_path / ".run.lock").write_text("1")
    with output_folder(tmp_path, settings, **NEW):
        pass
    shutil.rmtree(tmp_path)
