"""Mutated files: each is loaded, or refused with an error of the package, in seconds and in little memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.importer.bounded import in_process
from tests.importer.mutations import MUTATIONS, mutate_bytes
from tests.importer.seeds import SEEDS
from zskd_onnx import ZskdError
from zskd_onnx.teacher.load import load_teacher

MEMORY = 3 << 30
"""Bytes that one file may need."""

SECONDS = 20
"""Processor time that one file may need."""

SHORT = settings(
    max_examples=70,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=int(os.environ.get("ZSKD_FUZZ_EXAMPLES", "3000")), derandomize=False)


def load(path: str) -> None:
    """Load a file; an error of the package must be one short line."""
    try:
        load_teacher(path)
    except ZskdError as error:
        if "\n" in str(error) or len(str(error)) > 9000:
            raise AssertionError("the message is not one short line") from error


def check(content: bytes, folder: Path) -> None:
    """Load a file in its own process, and check its memory and time."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(content)
    outcome = in_process(load, str(path), folder=folder, limit=60)
    assert outcome.code == 0, outcome.stderr
    assert outcome.grown < MEMORY
    assert outcome.seconds < SECONDS


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    return mutate_bytes(draw, SEEDS[draw(st.sampled_from(sorted(SEEDS)))].SerializeToString())


@st.composite
def mutated_fields(draw: st.DrawFn) -> bytes:
    seed = SEEDS[draw(st.sampled_from(sorted(SEEDS)))]
    model = type(seed)()
    model.CopyFrom(seed)
    for _ in range(draw(st.integers(1, 3))):
        mutate = draw(st.sampled_from(MUTATIONS))
        try:
            mutate(draw, model)
        except (ValueError, TypeError):  # protobuf refuses the value for this field
            continue
    return model.SerializeToString()


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_unmutated_files_load(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(SEEDS[name].SerializeToString())
    load_teacher(path)


@settings(SHORT)
@given(content=mutated_bytes())
def test_mutated_bytes(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(content, tmp_path_factory.getbasetemp() / "fuzz-bytes")


@settings(SHORT)
@given(content=mutated_fields())
def test_mutated_fields(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(content, tmp_path_factory.getbasetemp() / "fuzz-fields")


@pytest.mark.slow
@settings(LONG)
@given(content=st.one_of(mutated_fields(), mutated_fields(), mutated_bytes()))
def test_many_mutations(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(content, tmp_path_factory.getbasetemp() / "fuzz-long")
