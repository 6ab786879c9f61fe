"""Limits as users write them."""

from __future__ import annotations

import pytest

from zskd_onnx import UsageError
from zskd_onnx.students.thinning.target import parse_target, requested_target


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("target_params", "60000", 60_000),
        ("target_params", "60k", 60_000),
        ("target_params", " 1.5 M ", 1_500_000),
        ("target_params", "6e4", 60_000),
        ("target_macs", "10M", 10_000_000),
        ("target_macs", ".5g", 500_000_000),
        ("target_size", "900", 900),
        ("target_size", "900B", 900),
        ("target_size", "200kB", 200_000),
        ("target_size", "1.2MB", 1_200_000),
        ("target_latency", "2ms", 0.002),
        ("target_latency", "250us", 0.00025),
        ("target_latency", "0.1 s", 0.1),
    ],
)
def test_units(kind: str, text: str, value: float) -> None:
    target = parse_target(kind, text)
    assert target.limit(1e12) == pytest.approx(value)
    assert not target.is_share


def test_shares() -> None:
    target = parse_target("target_size", "12.5%")
    assert (target.is_share, target.limit(1000)) == (True, 125)
    assert target.option == "--target-size 12.5%"


@pytest.mark.parametrize(
    ("kind", "texts", "example"),
    [
        ("target_params", ("", "many", "-3", "0", "10ms", "60kB", "0%", "100%", "1e999", "nan", "1_000", "k"), "60k"),
        ("target_macs", ("10 mega", "ten"), "10M"),
        ("target_size", ("2ms", "3x", "20 %%"), "200kB"),
        ("target_latency", ("2", "2m", "1h"), "2ms"),
    ],
)
def test_what_cannot_be_read(kind: str, texts: tuple[str, ...], example: str) -> None:
    for text in texts:
        with pytest.raises(UsageError, match=rf"^--{kind.replace('_', '-')} '.*': expected a .*{example}.*25%$"):
            parse_target(kind, text)


def test_one_limit_at_most() -> None:
    assert requested_target("cnn", target_params=None, target_size=None) is None
    target = requested_target(None, target_params=60_000, target_size=None)
    assert target is not None
    assert target.limit(1.0) == 60_000
    with pytest.raises(UsageError, match="--target-params and --target-size exclude each other"):
        requested_target(None, target_params="1k", target_size="1kB")
    with pytest.raises(UsageError, match="--target-macs and --student exclude each other"):
        requested_target("cnn", target_macs="1M")
