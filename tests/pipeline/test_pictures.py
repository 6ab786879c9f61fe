"""A run with a folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SMALL
from zskd_onnx import CompressionResult, UsageError, compress
from zskd_onnx.pipeline.plan import prepare

START = ("synthesis.start=procedural", "synthesis.resolution=[1.0]", "synthesis.radius=0.25")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 60), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(digits_file: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    out = tmp_path_factory.mktemp("run") / "out"
    return compress(digits_file, out, recipe="zskd", overrides=(*SMALL, *START), pictures=pictures)


def test_crops_serve_as_start_and_as_images(run: CompressionResult, digits_file: Path, pictures: Path) -> None:
    plan = prepare(digits_file, recipe="zskd", overrides=(*SMALL, *START), pictures=pictures)
    assert plan.images is not None
    assert plan.images.pictures is not None
    assert any("3 of 3 pictures are cropped" in note for note in plan.notes)
    settings = json.loads((run.student.parent / "run.json").read_text())
    assert settings["options"]["pictures"] == str(pictures)


def test_a_transfer_set_depends_on_its_pictures(run: CompressionResult, digits_file: Path, tmp_path: Path) -> None:
    """Its samples start from them. So a run whose pictures have changed since is not continued."""
    without = compress(digits_file, tmp_path / "out", recipe="zskd", overrides=(*SMALL, *START))
    first, second = (json.loads((r.student.parent / "transfer-set" / "index.json").read_text()) for r in (run, without))
    assert first["identity"] != second["identity"]
    assert first["identity"]["pictures"]
    assert run.student.read_bytes() != without.student.read_bytes()


def test_a_finished_run_is_resumed_without_its_pictures_named(run: CompressionResult) -> None:
    assert compress(None, run.student.parent, resume=True).agreement == run.agreement


def test_a_recipe_without_drawn_images_takes_no_pictures(digits_file: Path, pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe 'noise' draws no images for this teacher.*leave --pictures out"):
        prepare(digits_file, recipe="noise", pictures=pictures)
