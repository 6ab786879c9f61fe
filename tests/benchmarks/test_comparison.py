"""A converter that crashes or hangs is refused; one that does not start is no verdict at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

WORKER = f"""#!{sys.executable}
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    match json.loads(line)["argument"]:
        case "crash": os._exit(139)
        case "hang": time.sleep(60)
        case answer: print(json.dumps({{"verdict": answer, "reason": ""}}), flush=True)
"""


@pytest.fixture(autouse=True)
def _benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def python(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_what_gives_no_answer_is_refused_and_the_next_is_asked_again(tmp_path: Path) -> None:
    from comparison.isolated import Isolated
    from comparison.verdict import summary

    with Isolated("any", python(tmp_path, WORKER), timeout=2) as converter:
        asked = ("pass", "crash", "wrong", "hang", "pass")
        verdicts = [converter.ask("test", argument) for argument in asked]
    assert [v.verdict for v in verdicts] == ["pass", "refused", "wrong", "refused", "pass"]
    assert "139" in verdicts[1].reason
    assert "2 s" in verdicts[3].reason
    assert summary(verdicts) == "2 / 2 / 1"


def test_a_converter_that_does_not_start_is_no_verdict(tmp_path: Path) -> None:
    from comparison.isolated import Isolated

    broken = Isolated("any", python(tmp_path, "#!/bin/sh\nexit 1\n"), timeout=2)
    with broken, pytest.raises(RuntimeError, match="does not start"):
        broken.ask("test", "pass")
