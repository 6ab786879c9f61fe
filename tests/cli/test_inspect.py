"""What ``inspect`` and ``doctor`` print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch

from tests.cli.conftest import WIDTHS, assert_whole
from tests.conftest import Cli, Exports, export
from tests.students.thinning.graphs import graph_of
from zskd_onnx import prepare
from zskd_onnx.cli.inspect import _classes, _rows, _thinning_rows
from zskd_onnx.cli.results import table_lines


def test_inspect(run: Cli, digits_file: Path) -> None:
    facts = json.loads(run("inspect", digits_file, "--format", "json").stdout)
    assert facts["schema_version"] == 2
    assert facts["classes"] == 10
    assert facts["penultimate_layer"]["outputs"] == 52
    assert facts["head"]["weight"] == [10, 52]
    assert facts["input"]["low"] == [0.0]
    assert facts["input"]["high"] == [16.0]
    assert not facts["input"]["assumed"]
    assert facts["recipes"]["zskd"] == {"suits": True, "needs": {"head": True}, "why": ""}
    assert facts["default_recipe"] == {"name": "best", "why": ""}
    assert facts["procedural"]["objects"]["classes"] == 10
    # 3x3 convolutions to 16 and 32 filters on 8x8, then 512 -> 52 -> 10.
    assert facts["multiply_adds"] == 64 * 9 * 16 + 64 * 9 * 16 * 32 + 512 * 52 + 52 * 10
    assert facts["parameters"] == sum(w.size for w in _weights(digits_file) if w.ndim)


def _weights(path: Path) -> list[np.ndarray]:
    arrays = [onnx.numpy_helper.to_array(w) for w in onnx.load(path).graph.initializer]
    return [a for a in arrays if a.dtype == np.float32]


def test_an_assumed_range_is_shown(run: Cli, exports: Exports, tmp_path: Path) -> None:
    network, path = exports.network("lenet5"), tmp_path / "teacher.onnx"
    export(network.module, network.shape, path, "17", fixed=False)
    text = run("inspect", path).stdout
    assert "0 to 1" in text
    assert "--input-range" in text


def test_doctor(run: Cli) -> None:
    facts = json.loads(run("doctor", "--format", "json").stdout)
    assert facts["torch"] == torch.__version__
    assert "CPUExecutionProvider" in facts["onnxruntime providers"]


def test_the_table_is_whole_at_every_width(run: Cli, digits_file: Path) -> None:
    facts = json.loads(run("inspect", digits_file, "--format", "json").stdout)
    for width in WIDTHS:
        assert_whole("\n".join(table_lines(_rows(facts), width)), width)
    text = run("inspect", digits_file).stdout
    [unsuited] = [line for line in text.splitlines() if line.startswith("recipe deep-inversion")]
    assert unsuited.removeprefix("recipe deep-inversion").strip().startswith("needs batch-normalisation statistics")
    assert "final layer" in text
    assert "52 -> 10 at" in text
    [objects] = [line for line in text.splitlines() if line.startswith("procedural objects")]
    assert objects.endswith("on 256 images")


def test_a_run_without_recipe_takes_the_default_that_inspect_names(run: Cli, tmp_path: Path) -> None:
    """A teacher of natural images, and one without a final fully connected layer."""
    torch.manual_seed(0)
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 4))
    for name, net in (("colour", head), ("headless", torch.nn.Sequential(*head, torch.nn.Softplus()))):
        path = tmp_path / f"{name}.onnx"
        export(net, (3, 16, 16), path, "17", fixed=False)
        facts = json.loads(run("inspect", path, "--input-range", "0,1", "--format", "json").stdout)
        plan = prepare(path, student="mlp-small", input_range=(0, 1))
        assert facts["default_recipe"]["name"] == plan.recipe.name


def test_channels_that_can_be_removed(run: Cli, digits_file: Path) -> None:
    lines = run("inspect", digits_file, "--thin").stdout.splitlines()
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "group node_conv2d 16 channels, 8 in thin:0.5; shared by 3 nodes, the first is node 'node_conv2d' (Conv)",
        "group node_conv2d_1 32 channels, 16 in thin:0.5; shared by 5 nodes, the first is node 'node_conv2d_1' (Conv)",
        "group node_linear 52 channels, 24 in thin:0.5; shared by 3 nodes, the first is node 'node_linear' (Gemm)",
        "teacher 32,006 parameters, 331,272 multiply-adds per sample",
        "thin:0.5 7,666 parameters, 84,720 multiply-adds per sample",
    ]
    facts = json.loads(run("inspect", digits_file, "--thin", "--format", "json").stdout)
    assert [group["width"] for group in facts["groups"]] == [16, 32, 52]
    assert facts["schema_version"] == 2
    for width in WIDTHS:
        assert_whole("\n".join(table_lines(_thinning_rows(facts), width)), width)


def test_nothing_to_thin_is_no_error(run: Cli, tmp_path: Path) -> None:
    onnx.save(graph_of("f = Flatten(x) y = Gemm<transB = 1>(f, w)", {"w": (4, 108)}), tmp_path / "linear.onnx")
    done = run("inspect", tmp_path / "linear.onnx", "--thin", "--input-range", "0,1")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("thin:0.5")]
    assert "no channels that could be removed" in line


def test_values_of_channels_and_several_held_axes() -> None:
    group = {"name": "qkv", "width": 3, "positions": 64, "half": 2, "first": "node 'qkv' (MatMul)", "nodes": 9}
    held = [{"node": f"node '{name}' (Conv)", "width": 8, "held_by": "node 'x' (If)"} for name in "ab"]
    size = {"parameters": 1000, "multiply_adds": 2000}
    rows = _thinning_rows(
        {"path": "t.onnx", "groups": [group], "held": held, "teacher": size, "thin:0.5": size, "reason": None}
    )
    assert rows["group qkv"].startswith("3 channels of 64 values each, 2 in thin:0.5; shared by 9 nodes")
    assert rows["held 2"] == "8 channels of node 'b' (Conv), by node 'x' (If)"


def test_many_classes() -> None:
    assert _classes(3, None) == "3, without names"
    assert _classes(3, ["a", "b", "c"]) == "3: a, b, c"
    assert _classes(1000, [str(n) for n in range(1000)]) == "1000: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 990 more"
