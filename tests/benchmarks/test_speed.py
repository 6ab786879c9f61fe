"""A generous gate on speed: synthesis is not slower than a plain loop in torch that does the same work; and the table of speeds."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

ROUNDS, ITERATIONS = 5, 10

SLOWEST = 0.7
"""Least speed relative to the plain loop. ``benchmarks/speed.py`` measures more than 1; this leaves room for a noisy machine."""


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of the benchmark can be imported."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("speed", "speed_parts", "rows", "teachers", "data"):
            del sys.modules[name]


@pytest.mark.usefixtures("parts")
def test_impressions_are_not_slower_than_a_plain_loop(tmp_path: Path) -> None:
    from speed_parts import impressions
    from speed_parts.rows import Loops, Options, in_turns

    options = Options(tmp_path, tmp_path)
    net = impressions.plain_net("lenet5", options)
    loops = Loops(
        "impressions",
        "seconds",
        1.0,
        lambda: impressions.plain(net, (1, 32, 32), ITERATIONS),
        {"the same work": impressions.package_work("lenet5", options, iterations=ITERATIONS)},
        ("gap", impressions.gap(net)),
    )
    (row,) = in_turns(loops, ROUNDS)
    assert statistics.median(row.ratios) > SLOWEST
    assert row.others["gap"] == pytest.approx(row.others["gap, plain"], rel=0.2)


@pytest.mark.usefixtures("parts")
def test_a_part_without_its_file_is_left_out_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import speed

    monkeypatch.delenv("ZSKD_DATA", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["speed.py", "--only", "impressions-resnet20", "memory-resnet20", "mnist", "--kept", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    threads = torch.get_num_threads()
    speed.main()
    torch.set_num_threads(threads)
    printed = capsys.readouterr()
    assert printed.err.count("is left out: set --resnet20") == 2
    assert "mnist is left out: set --data or ZSKD_DATA" in printed.err
    assert len(printed.out.strip().splitlines()) == 2


@pytest.mark.usefixtures("parts")
def test_a_ratio_is_the_median_of_the_rounds_and_missing_where_a_loop_did_not_get_there() -> None:
    from speed_parts.rows import Row, table

    row = Row("work", "float32", "seconds", [4.0, 6.0, 3.0], [2.0, 2.0, 3.0])
    assert row.as_json() == {
        "row": "work",
        "loop": "float32",
        "unit": "seconds",
        "plain": 4.0,
        "package": 2.0,
        "ratio": 2.0,
        "lowest ratio": 1.0,
        "highest ratio": 3.0,
        "rounds": 3,
    }
    assert table([row]).endswith("| work | seconds | float32 | 4 | 2 | **2** | 1 to 3 |")
    never = Row("work", "float32", "seconds", [4.0], [None])
    assert table([never]).endswith("| 4 | - | **-** | - |")
