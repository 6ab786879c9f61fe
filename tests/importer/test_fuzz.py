"""Spoilt files: each gives a teacher or one of the project's own errors, in seconds and in little memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.importer.bounded import in_process
from tests.importer.mutations import FIELDS, mutate_bytes
from tests.importer.seeds import SEEDS
from zskd_onnx import ZskdError
from zskd_onnx.teacher.load import load_teacher

MEMORY = 3 << 30
SECONDS = 20

SHORT = settings(
    max_examples=70,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=int(os.environ.get("ZSKD_FUZZ_EXAMPLES", "3000")), derandomize=False)


def load(path: str) -> None:
    """The one question: a teacher, or an error of the project, told in one line."""
    try:
        load_teacher(path)
    except ZskdError as error:
        if "\n" in str(error) or len(str(error)) > 9000:
            raise AssertionError("not one line") from error


def check(content: bytes, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(content)
    outcome = in_process(load, str(path), folder=folder, limit=60)
    assert outcome.code == 0, outcome.stderr
    assert outcome.grown < MEMORY
    assert outcome.seconds < SECONDS


@st.composite
def spoilt_bytes(draw: st.DrawFn) -> bytes:
    return mutate_bytes(draw, SEEDS[draw(st.sampled_from(sorted(SEEDS)))].SerializeToString())


@st.composite
def spoilt_fields(draw: st.DrawFn) -> bytes:
    seed = SEEDS[draw(st.sampled_from(sorted(SEEDS)))]
    model = type(seed)()
    model.CopyFrom(seed)
    for _ in range(draw(st.integers(1, 3))):
        draw_from = draw(st.sampled_from(FIELDS))
        try:
            draw_from(draw, model)
        except (ValueError, TypeError):  # a value that its field cannot hold
            continue
    return model.SerializeToString()


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_what_is_spoilt_was_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(SEEDS[name].SerializeToString())
    load_teacher(path)


@settings(SHORT)
@given(content=spoilt_bytes())
def test_bytes(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(content, tmp_path_factory.getbasetemp() / "fuzz-bytes")


@settings(SHORT)
@given(content=spoilt_fields())
def test_fields(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(content, tmp_path_factory.getbasetemp() / "fuzz-fields")


@pytest.mark.slow
@settings(LONG)
@given(content=st.one_of(spoilt_fields(), spoilt_fields(), spoilt_bytes()))
def test_for_long(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(content, tmp_path_factory.getbasetemp() / "fuzz-long")
