"""Teachers from PyTorch, Keras, Flax and scikit-learn: written by the adapters, then compressed.

    python benchmarks/frameworks.py [--only keras_cnn ...] [--set synthesis.count=12000 ...]

Trains the models of tests/adapters/models on three quarters of scikit-learn's digits, each in an
environment of its own (made on first use in ZSKD_ADAPTER_ENVS, or in the output folder), and prints how
often the student agrees with the teacher on the other quarter, which no student has seen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import zskd_onnx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.adapters.environments import ADAPTERS, MODELS, python_for, run, train  # noqa: E402

OUT = ROOT / "benchmarks" / "out" / "frameworks"
RANGE = ("--input-range", "0,16")
TRUST = ("--trust", "sklearn.neural_network._stochastic_optimizers.AdamOptimizer")


@dataclass(frozen=True)
class Case:
    """One teacher file.

    Attributes:
        adapter: the script that writes it.
        model: what the training script saved.
        held_out: the .npz with digits for it.
        options: of the adapter.
    """

    adapter: str
    model: str
    held_out: str
    options: tuple[str, ...]


CASES = {
    "pytorch_cnn": Case(
        "pytorch",
        "weights.safetensors",
        "held_out",
        ("--module", f"{MODELS}/pytorch_net.py:make", "--input-shape", "1,8,8", *RANGE, "--mean", "4.9", "--std", "6"),
    ),
    "keras_cnn": Case("keras", "cnn.keras", "cnn", ("--keep-softmax", *RANGE)),
    "keras_cnn_logits": Case("keras", "cnn.keras", "cnn", RANGE),
    "keras_binary": Case("keras", "binary.keras", "binary", RANGE),
    "flax_cnn": Case(
        "jax",
        "linen.safetensors",
        "held_out",
        ("--module", f"{MODELS}/jax_net.py:make", "--input-shape", "8,8,1", *RANGE),
    ),
    **{
        f"sk_{kind}_{task}_{form}": Case(
            "scikit_learn", f"{kind}_{task}.skops", f"{kind}_{task}", (*TRUST, *(["--zipmap"] if form == "zip" else []))
        )
        for kind in ("logreg", "mlp")
        for task in ("multi", "binary")
        for form in ("nozip", "zip")
    },
}


def write_teachers(chosen: list[str], folder: Path, environments: Path) -> None:
    """Train, and write <name>.onnx with <name>.npz (``x`` as the file takes it, classes ``y``) for each case."""
    folder.mkdir(parents=True, exist_ok=True)
    trained: dict[str, Path] = {}
    for name in chosen:
        case = CASES[name]
        python = python_for(case.adapter, environments)
        if case.adapter not in trained:
            trained[case.adapter] = train(case.adapter, python, folder / "models" / case.adapter)
        models = trained[case.adapter]
        script = ADAPTERS / f"{case.adapter}.py"
        run(python, script, models / case.model, folder / f"{name}.onnx", *case.options, check=True)
        with np.load(models / f"{case.held_out}.npz") as held_out:
            np.savez(folder / f"{name}.npz", x=held_out["x"], y=held_out["y"])


def predictions(path: Path, x: np.ndarray) -> np.ndarray:
    """Class numbers, whatever form the file's scores have."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = session.run(None, {session.get_inputs()[0].name: x})
    scores = next(a for a in reversed(answers) if isinstance(a, list) or a.ndim == 2)
    if isinstance(scores, list):  # of maps from class to probability
        scores = np.array([[row[key] for key in sorted(row)] for row in scores])
    if scores.shape[1] > 1:
        return scores.argmax(1)
    return (scores[:, 0] > (0.5 if scores.min() >= 0 and scores.max() <= 1 else 0)).astype(np.int64)


def measure(name: str, folder: Path, recipe: str, overrides: list[str]) -> str:
    """A row of the table."""
    teacher = folder / f"{name}.onnx"
    started = time.perf_counter()
    try:
        facts = zskd_onnx.inspect(teacher)
        result = zskd_onnx.compress(teacher, folder / name, recipe=recipe, overrides=overrides, overwrite=True)
    except zskd_onnx.ZskdError as error:
        return f"| {CASES[name].adapter} | {name} | {type(error).__name__}: {error} | | | | |"
    seconds = time.perf_counter() - started
    with np.load(folder / f"{name}.npz") as held_out:
        x, y = held_out["x"], held_out["y"]
    ours, theirs = predictions(result.student, x), predictions(teacher, x)
    low, high = facts["input"]["low"], facts["input"]["high"]
    domain = f"{min(low):.3g} to {max(high):.3g} ({facts['input']['range_source']}), {facts['input']['layout']}"
    head = "x".join(map(str, facts["head"]["weight"])) if facts["head"] else "none"
    scores = f"{np.mean(ours == theirs):.4f} (teacher {np.mean(theirs == y):.4f}, student {np.mean(ours == y):.4f})"
    return f"| {CASES[name].adapter} | {name} | {domain} | {facts['classes']} | {head} | {scores} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--output", type=Path, default=OUT)
    parser.add_argument("--teachers-only", action="store_true", help="write the files and stop")
    options = parser.parse_args()
    kept = os.environ.get("ZSKD_ADAPTER_ENVS")
    write_teachers(options.only, options.output, Path(kept) if kept else options.output / "environments")
    shutil.rmtree(options.output / "models")
    if options.teachers_only:
        return
    print("| framework | model | domain found | classes | W found | agreement on held-out digits | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        print(measure(name, options.output, options.recipe, options.set), flush=True)


if __name__ == "__main__":
    main()
