"""The adapter for PyTorch, adapters/pytorch.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.adapters.conftest import Adapter, Touches, check_teacher, metadata, outputs
from tests.adapters.environments import MODELS

pytestmark = pytest.mark.adapters

NET = f"{MODELS / 'pytorch_net.py'}"
DOMAIN = ("--input-range", "0,16", "--mean", "4.9", "--std", "6")
SHAPE = ("--input-shape", "1,8,8")


@pytest.mark.parametrize("weights", ["weights.pt", "weights.safetensors", "checkpoint.pt"])
def test_weights(adapter: Adapter, weights: str) -> None:
    result = adapter.write(weights, "--module", f"{NET}:make", *SHAPE, *DOMAIN, "--classes", ",".join("abcdefghij"))
    assert result["teacher"] == str(adapter.output)
    assert result["check"]["max_abs_difference"] < 1e-3
    assert (
        metadata(adapter.output).items()
        >= {
            "zskd.input_range": "0,16",
            "zskd.mean": "4.9",
            "zskd.std": "6",
            "zskd.layout": "NCHW",
            "zskd.classes": json.dumps(list("abcdefghij")),
        }.items()
    )
    assert str(MODELS).encode() not in adapter.output.read_bytes()  # no paths of this machine
    facts = adapter.facts("held_out")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-3)
    domain = check_teacher(adapter.output, facts, 10).domain
    assert (domain.low, domain.high) == (pytest.approx((-4.9 / 6,)), pytest.approx((11.1 / 6,)))
    assert not domain.assumed


def test_factory_in_a_package(adapter: Adapter) -> None:
    adapter.write("weights.pt", "--module", "pytorch_net:make", *SHAPE, cwd=MODELS)


def test_pickled_module_needs_allow_pickle(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "module.pt", *SHAPE)
    adapter.write("module.pt", "--allow-pickle", *SHAPE, *DOMAIN, cwd=MODELS)
    check_teacher(adapter.output, adapter.facts("held_out"), 10)


def test_refused_pickle_is_not_read(adapter: Adapter, tmp_path: Path) -> None:
    torch.save({"state_dict": Touches(tmp_path / "touched")}, tmp_path / "hostile.pt")
    adapter.refuse(2, str(tmp_path / "hostile.pt"), "--module", f"{NET}:make", *SHAPE)
    assert not (tmp_path / "touched").exists()


def test_exported_program_needs_allow_pickle(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "program.pt2")
    adapter.write("program.pt2", "--allow-pickle", *DOMAIN)
    facts = adapter.facts("held_out")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-3)
    check_teacher(adapter.output, facts, 10)


def test_exported_program_with_a_fixed_batch_size(adapter: Adapter) -> None:
    assert "batch size is fixed at 2" in adapter.refuse(3, "fixed.pt2", "--allow-pickle")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "--module"),
        (("--module", f"{NET}:make"), "--input-shape"),
        (("--module", f"{NET}:nothing", *SHAPE), "nothing"),
        (("--module", f"{NET}:make_other", *SHAPE), "does not fit"),
        (("--module", f"{NET}:make", "--input-shape", "3,8,8"), "(3, 8, 8)"),
        (("--module", f"{NET}:make", *SHAPE, "--classes", "a,b"), "10 classes"),
        (("--module", f"{NET}:make", *SHAPE, "--mean", "1,2,3"), "--mean"),
        (("--module", f"{NET}:make", *SHAPE, "--check-data", NET), "--check-data"),
    ],
)
def test_error_names_the_option(adapter: Adapter, options: tuple[str, ...], text: str) -> None:
    assert text in adapter.refuse(2, "weights.pt", *options)


def test_file_without_a_model(adapter: Adapter) -> None:
    assert "held_out.npz" in adapter.refuse(3, "held_out.npz", "--module", f"{NET}:make", *SHAPE)


def test_difference_writes_nothing_and_keeps_an_existing_file(adapter: Adapter) -> None:
    unstable = ("weights.pt", "--module", f"{NET}:make_unstable", *SHAPE)
    assert "differ" in adapter.refuse(4, *unstable)
    adapter.output.write_bytes(b"before")
    assert adapter.run(*unstable).returncode == 4
    assert adapter.output.read_bytes() == b"before"


def test_check_data_and_file_of_class_names(adapter: Adapter, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {n}\n" for n in range(10)))
    data = ("--check-data", adapter.models / "held_out.npz", "--classes", names)
    result = adapter.write("weights.pt", "--module", f"{NET}:make", *SHAPE, *data)
    assert result["check"]["samples"] == 450
    assert json.loads(metadata(adapter.output)["zskd.classes"])[9] == "digit 9"
