"""Transfer sets on disk, and their synthesis."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import file_size_limit
from tests.importer.bounded import in_process
from zskd_onnx import UsageError
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.synthesis.base import Synthesis
from zskd_onnx.synthesis.fill import fill
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.synthesis.noise import Noise
from zskd_onnx.synthesis.parts import Parts
from zskd_onnx.teacher.teacher import Teacher


def samples(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 4, 4, generator=g), torch.rand(count, 3, generator=g)


def test_a_set_can_be_read_while_it_grows(tmp_path: Path) -> None:
    written = TransferSet.create(tmp_path, {"teacher": "a"})
    assert TransferSet.open(tmp_path).count == 0
    parts = [samples(5, 0), samples(3, 1)]
    for number, part in enumerate(parts, 1):
        written.add(written.count, *part)
        opened = TransferSet.open(tmp_path)
        assert opened.identity == {"teacher": "a"}
        assert opened.count == sum(len(p[0]) for p in parts[:number])
    loaded = TransferSet.open(tmp_path).load()
    torch.testing.assert_close(loaded.inputs.float(), torch.cat([p[0] for p in parts]), rtol=0, atol=2**-11)
    assert torch.equal(loaded.targets, torch.cat([p[1] for p in parts]))
    assert loaded.inputs.is_contiguous(memory_format=torch.channels_last)


def test_safetensors_can_read_a_shard(tmp_path: Path) -> None:
    TransferSet.create(tmp_path, {}).add(0, *samples(5))
    index = json.loads((tmp_path / "index.json").read_text())
    (shard,) = index["shards"]
    assert shard["count"] == 5
    assert set(load_file(tmp_path / shard["file"])) == {"inputs", "targets"}


def test_a_failed_write_leaves_no_trace(tmp_path: Path) -> None:
    transfer_set = TransferSet.create(tmp_path, {})
    transfer_set.add(transfer_set.count, *samples(5))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with file_size_limit(1000), pytest.raises(OSError, match=r"shard-00000005\.safetensors"):
        transfer_set.add(transfer_set.count, *samples(50))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_index_records_the_largest_request(tmp_path: Path) -> None:
    written = TransferSet.create(tmp_path, {})
    written.request(7)
    written.add(written.count, *samples(5))
    assert TransferSet.open(tmp_path).requested == 7
    for count, requested in ((6, 7), (9, 9)):
        TransferSet.open(tmp_path).request(count)
        assert TransferSet.open(tmp_path).requested == requested


def test_an_index_of_earlier_versions(tmp_path: Path) -> None:
    """It has no "wanted" and no digests. A run that takes fewer samples than the set has does not limit later runs."""
    TransferSet.create(tmp_path, {}).add(0, *samples(5))
    index = json.loads((tmp_path / "index.json").read_text())
    del index["wanted"], index["shards"][0]["sha256"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    for count, requested in ((3, None), (6, 6)):
        old = TransferSet.open(tmp_path)
        old.request(count)
        assert (old.requested, old.count) == (requested, 5)
        assert len(old.load().inputs) == 5
    old.add(old.count, *samples(5))
    assert ["sha256" in shard and shard["sha256"] is not None for shard in stored(tmp_path)["shards"]] == [False, True]
    assert TransferSet.open(tmp_path).damaged(10) == []
    (tmp_path / "shard-00000000.safetensors").write_bytes(b"no shard")
    assert [first for first, _ in TransferSet.open(tmp_path).damaged(10)] == [0]


def stored(folder: Path) -> dict[str, Any]:
    """The content of an index."""
    content: dict[str, Any] = json.loads((folder / "index.json").read_text())
    return content


def flip_a_bit(path: Path) -> None:
    """Change one bit of the last byte, which is a target's."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    written = TransferSet.create(tmp_path, {})
    for number in range(3):
        written.add(written.count, *samples(5, number))
    flip_a_bit(tmp_path / "shard-00000005.safetensors")
    opened = TransferSet.open(tmp_path)
    with pytest.raises(UsageError, match=r"shard-00000005\.safetensors.*SHA-256.*--resume"):
        opened.load()
    assert len(opened.load(5).inputs) == 5
    assert [(first, shard.file) for first, shard in opened.damaged(15)] == [(5, "shard-00000005.safetensors")]
    assert opened.damaged(5) == []


def damage(folder: Path, how: str) -> None:
    """Damage a transfer set in one of the ways of the test below."""
    index, shard = folder / "index.json", folder / "shard-00000000.safetensors"
    content = json.loads(index.read_text())
    if how == "no index":
        index.unlink()
    elif how == "index is no JSON":
        index.write_text("{")
    elif how == "index is a list":
        index.write_text("[]")
    elif how == "another schema":
        index.write_text(json.dumps({**content, "schema_version": 99}))
    elif how == "wanted is no number":
        index.write_text(json.dumps({**content, "wanted": "all"}))
    elif how == "wanted is negative":
        index.write_text(json.dumps({**content, "wanted": -3}))
    elif how == "a shard outside the folder":
        content["shards"][0]["file"] = "../shard-00000000.safetensors"
        index.write_text(json.dumps(content))
    elif how == "a shard is missing":
        shard.unlink()
    elif how == "a shard is cut":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif how == "a wrong count":
        content["shards"][0]["count"] = 6
        index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "how",
    [
        "no index",
        "index is no JSON",
        "index is a list",
        "another schema",
        "wanted is no number",
        "wanted is negative",
        "a shard outside the folder",
        "a shard is missing",
        "a shard is cut",
        "a wrong count",
    ],
)
def test_a_damaged_set_is_an_error_that_names_it(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "set"
    TransferSet.create(folder, {}).add(0, *samples(5))
    damage(folder, how)
    with pytest.raises(UsageError, match=str(folder)) as error:
        TransferSet.open(folder).load()
    assert "\n" not in str(error.value)


def test_shards_of_several_shapes_are_refused(tmp_path: Path) -> None:
    written = TransferSet.create(tmp_path, {})
    written.add(written.count, *samples(5))
    written.add(written.count, torch.rand(5, 1, 5, 5), torch.rand(5, 3))
    with pytest.raises(UsageError, match="shard-00000005"):
        TransferSet.open(tmp_path).load()


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (6,)])
def test_the_memory_format_does_not_depend_on_the_count(tmp_path: Path, shape: tuple[int, ...]) -> None:
    parts = [torch.rand(count, *shape).half() for count in (5, 3)]
    written = TransferSet.create(tmp_path, {})
    for part in parts:
        written.add(written.count, part, torch.rand(len(part), 3))
    joined = torch.cat(parts)
    if joined.ndim == 4:
        joined = joined.contiguous(memory_format=torch.channels_last)
    for count in (2, 5, 7, None, 100):
        loaded = TransferSet.open(tmp_path).load(count)
        assert torch.equal(loaded.inputs, joined[:count])
        assert len(loaded.targets) == len(loaded.inputs)
        assert loaded.inputs.stride() == joined.stride()


def load(folder: Path) -> None:
    TransferSet.open(folder).load()


def test_loading_takes_little_more_memory_than_the_set(tmp_path: Path) -> None:
    written = TransferSet.create(tmp_path / "set", {})
    part = torch.rand(100, 3, 64, 64).half()
    for _ in range(40):
        written.add(written.count, part, torch.rand(100, 10))
    whole = 40 * part.numel() * part.element_size()
    outcome = in_process(load, tmp_path / "set", folder=tmp_path, limit=100)
    assert outcome.code == 0, outcome.stderr
    assert whole < outcome.grown < 1.5 * whole


def test_a_wrong_count_in_the_index_allocates_no_memory(tmp_path: Path) -> None:
    TransferSet.create(tmp_path, {}).add(0, *samples(5))
    index = tmp_path / "index.json"
    index.write_text(index.read_text().replace('"count": 5', '"count": 5000000000000'))
    with pytest.raises(UsageError, match="shard-00000000"):
        TransferSet.open(tmp_path).load()


def test_loading_an_empty_set_is_an_error(tmp_path: Path) -> None:
    TransferSet.create(tmp_path, {})
    with pytest.raises(UsageError):
        TransferSet.open(tmp_path).load()


QUICK = Impressions(batch_size=20, iterations=2)


def filled(
    folder: Path,
    teacher: Teacher,
    count: int,
    seed: int = 0,
    listener: Listener = silent,
    synthesis: Synthesis = QUICK,
) -> TransferSet:
    transfer_set = TransferSet.open(folder) if folder.exists() else TransferSet.create(folder, {})
    prior = Dirichlet() if synthesis.needs_prior else None
    fill(transfer_set, teacher, prior, synthesis, count, seed, torch.device("cpu"), listener)
    return transfer_set


def test_an_interrupted_set_is_continued_to_the_same_set(tmp_path: Path, digits: Teacher) -> None:
    whole = filled(tmp_path / "whole", digits, 70).load(70)

    def interrupt(event: Event) -> None:
        if event.completed == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "parts", digits, 70, listener=interrupt)
    assert TransferSet.open(tmp_path / "parts").count == 40
    continued = filled(tmp_path / "parts", digits, 70).load(70)
    assert torch.equal(continued.inputs, whole.inputs)
    assert torch.equal(continued.targets, whole.targets)


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_shard_is_made_again(
    tmp_path: Path, digits: Teacher, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It is byte for byte the same, and the others stay."""
    monkeypatch.setattr(sys.modules[fill.__module__], "SHARD_BATCHES", 1)
    filled(tmp_path / "set", digits, 60)
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    shard = tmp_path / "set" / "shard-00000020.safetensors"
    flip_a_bit(shard) if how == "changed" else shard.unlink()
    notes: list[str] = []
    filled(tmp_path / "set", digits, 60, listener=lambda event: notes.append(event.text))
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before
    assert f"{shard}: damaged or missing; it is made again" in notes


def test_slow_batches_are_written_one_by_one(tmp_path: Path, digits: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[fill.__module__], "FEWEST_PARTS", 1)
    assert len(list(filled(tmp_path / "quick", digits, 60).folder.glob("*.safetensors"))) == 1
    monkeypatch.setattr(sys.modules[Parts.__module__], "SHARD_SECONDS", 0.0)
    assert len(list(filled(tmp_path / "slow", digits, 60).folder.glob("*.safetensors"))) == 3


@pytest.mark.parametrize(
    "synthesis",
    [
        QUICK,
        Impressions(
            batch_size=4, iterations=30, learning_rate=0.05, temperature=1, confidence=(0.3, 0.5), clamp="step"
        ),
        Noise(batch_size=20),
    ],
    ids=["impressions", "class impressions", "noise"],
)
def test_a_larger_set_starts_with_the_smaller_one(tmp_path: Path, digits: Teacher, synthesis: Synthesis) -> None:
    large = filled(tmp_path / "large", digits, 90, synthesis=synthesis).load(90)
    small = filled(tmp_path / "grown", digits, 50, synthesis=synthesis).load(50)  # a chunk and a part of one
    grown = filled(tmp_path / "grown", digits, 90, synthesis=synthesis).load(90)
    assert len(small.inputs) == len(small.targets) == 50
    assert torch.equal(small.inputs, large.inputs[:50])
    assert torch.equal(grown.inputs, large.inputs)
    assert torch.equal(grown.targets, large.targets)


def test_the_seed_determines_the_set(tmp_path: Path, digits: Teacher) -> None:
    first, second = (filled(tmp_path / str(seed), digits, 20, seed).load() for seed in (0, 1))
    assert not torch.equal(first.inputs, second.inputs)
    assert not torch.equal(first.targets, second.targets)
