"""adapters/pytorch.py"""

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
    assert str(MODELS).encode() not in adapter.output.read_bytes()  # whoever gets the file learns no paths
    facts = adapter.facts("held_out")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-3)
    domain = check_teacher(adapter.output, facts, 10).domain
    assert (domain.low, domain.high) == (pytest.approx((-4.9 / 6,)), pytest.approx((11.1 / 6,)))
    assert not domain.assumed


def test_a_factory_in_a_package(adapter: Adapter) -> None:
    adapter.write("weights.pt", "--module", "pytorch_net:make", *SHAPE, cwd=MODELS)


def test_a_pickled_module_is_refused_unless_allowed(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "module.pt", *SHAPE)
    adapter.write("module.pt", "--allow-pickle", *SHAPE, *DOMAIN, cwd=MODELS)
    check_teacher(adapter.output, adapter.facts("held_out"), 10)


def test_a_refused_pickle_was_not_read(adapter: Adapter, tmp_path: Path) -> None:
    torch.save({"state_dict": Touches(tmp_path / "touched")}, tmp_path / "hostile.pt")
    adapter.refuse(2, str(tmp_path / "hostile.pt"), "--module", f"{NET}:make", *SHAPE)
    assert not (tmp_path / "touched").exists()


def test_an_exported_program_is_refused_unless_allowed(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "program.pt2")
    adapter.write("program.pt2", "--allow-pickle", *DOMAIN)
    facts = adapter.facts("held_out")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-3)
    check_teacher(adapter.output, facts, 10)


def test_an_exported_program_with_a_fixed_batch(adapter: Adapter) -> None:
    assert "batch size is fixed at 2" in adapter.refuse(3, "fixed.pt2", "--allow-pickle")


@pytest.mark.parametrize(
    ("options", "named"),
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
def test_a_wrong_option_is_named(adapter: Adapter, options: tuple[str, ...], named: str) -> None:
    assert named in adapter.refuse(2, "weights.pt", *options)


def test_a_file_that_is_no_model(adapter: Adapter) -> None:
    assert "held_out.npz" in adapter.refuse(3, "held_out.npz", "--module", f"{NET}:make", *SHAPE)


def test_a_difference_leaves_no_file_and_keeps_the_old_one(adapter: Adapter) -> None:
    unstable = ("weights.pt", "--module", f"{NET}:make_unstable", *SHAPE)
    assert "differ" in adapter.refuse(4, *unstable)
    adapter.output.write_bytes(b"before")
    assert adapter.run(*unstable).returncode == 4
    assert adapter.output.read_bytes() == b"before"


def test_the_check_takes_data_and_classes_a_file(adapter: Adapter, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {n}\n" for n in range(10)))
    data = ("--check-data", adapter.models / "held_out.npz", "--classes", names)
    result = adapter.write("weights.pt", "--module", f"{NET}:make", *SHAPE, *data)
    assert result["check"]["samples"] == 450
    assert json.loads(metadata(adapter.output)["zskd.classes"])[9] == "digit 9"
