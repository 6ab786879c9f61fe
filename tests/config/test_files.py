"""Where built-in recipes are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zskd_onnx.config.files import all_recipe_names

ROOT = Path(__file__).parents[2]

IN_A_CHECKOUT = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
import importlib.util
assert importlib.util.find_spec("zskd_onnx").origin.startswith(sys.argv[1])
assert importlib.util.find_spec("zskd_onnx.recipes") is None
from zskd_onnx.config.files import all_recipe_names, recipe_text
print(*all_recipe_names(), len(recipe_text("zskd-2019")))
"""


def test_modules_of_a_checkout_find_its_recipes() -> None:
    """``python -m zskd_onnx`` in a checkout takes them, whatever is installed."""
    command = [sys.executable, "-c", IN_A_CHECKOUT, str(ROOT)]
    *names, length = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert names == all_recipe_names()
    assert int(length) == len((ROOT / "recipes" / "as_published" / "zskd-2019.yaml").read_text(encoding="utf-8"))
