"""The output folder of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from zskd_onnx import UsageError, ZskdError
from zskd_onnx.pipeline.run_folder import check_output, output_folder


def write(folder: Path) -> None:
    (folder / "student.onnx").write_bytes(b"student")
    (folder / "transfer-set").mkdir(exist_ok=True)
    (folder / "transfer-set" / "index.json").write_text("{}")


def test_check_creates_no_folder(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b", overwrite=False, resume=False)
    assert list(tmp_path.iterdir()) == []
    with output_folder(tmp_path / "a" / "b", overwrite=False, resume=False) as folder:
        assert folder.is_dir()


def test_only_empty_folders_are_accepted_without_an_option(tmp_path: Path) -> None:
    check_output(tmp_path, overwrite=False, resume=False)
    (tmp_path / "out").write_text("a file")
    for options in ({"overwrite": True, "resume": False}, {"overwrite": False, "resume": True}):
        with pytest.raises(UsageError, match="is a file"):
            check_output(tmp_path / "out", **options)
    with pytest.raises(UsageError, match="--overwrite"):
        check_output(tmp_path, overwrite=False, resume=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZskdError])
def test_interrupted_run_keeps_its_transfer_set_and_no_student(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with output_folder(tmp_path / "out", overwrite=False, resume=False) as folder:
            write(folder)
            raise error

    with pytest.raises(error):
        interrupted()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["transfer-set"]
    with output_folder(tmp_path / "out", overwrite=False, resume=True) as folder:
        assert (folder / "transfer-set" / "index.json").is_file()


def test_failed_run_removes_its_files(tmp_path: Path) -> None:
    def failed(folder: Path, *, resume: bool) -> None:
        with output_folder(folder, overwrite=not resume, resume=resume):
            write(folder)
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        failed(tmp_path / "new", resume=False)
    assert list(tmp_path.iterdir()) == []

    (tmp_path / "notes.txt").write_text("of the user")
    with pytest.raises(OSError, match="No space"):
        failed(tmp_path, resume=False)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]

    with pytest.raises(OSError, match="No space"):
        failed(tmp_path, resume=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "transfer-set"]
