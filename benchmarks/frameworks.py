"""Teachers from PyTorch, Keras, Flax and scikit-learn, written by the adapters and compressed.

    python benchmarks/frameworks.py [--only keras_cnn ...] [--set synthesis.count=12000 ...]

The script trains the models of tests/adapters/models on three quarters of scikit-learn's digits.
Each framework has its own environment, created on first use in the folder ZSKD_ADAPTER_ENVS or in
the output folder. The script prints how often student and teacher agree on the held-out quarter.
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
        adapter: name of the script that writes it.
        model: the saved model that the script reads.
        held_out: name of the .npz file with held-out digits for it.
        options: options of the script.
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


def write_teachers(names: list[str], folder: Path, environments: Path) -> None:
    """Train the models, and write NAME.onnx and NAME.npz for each case.

    The .npz file has held-out digits ``x`` in the range and layout of the ONNX file, and their
    classes ``y``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained: dict[str, Path] = {}
    for name in names:
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
    """Predicted class numbers (N,) of a file with scores of any form."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: x})
    scores = next(value for value in reversed(outputs) if isinstance(value, list) or value.ndim == 2)
    if isinstance(scores, list):  # maps from class to probability
        scores = np.array([[row[key] for key in sorted(row)] for row in scores])
    if scores.shape[1] > 1:
        return scores.argmax(1)
    return (scores[:, 0] > (0.5 if scores.min() >= 0 and scores.max() <= 1 else 0)).astype(np.int64)


def measure(name: str, folder: Path, recipe: str, overrides: list[str]) -> str:
    """Compress a teacher, and return a row of the table."""
    teacher = folder / f"{name}.onnx"
    started = time.perf_counter()
    try:
        facts = zskd_onnx.inspect(teacher).to_dict()
        student = "mlp-small" if "logreg" in name else None  # hardly anything is smaller than a linear teacher
        result = zskd_onnx.compress(
            teacher, folder / name, recipe=recipe, overrides=overrides, student=student, overwrite=True
        )
    except zskd_onnx.ZskdError as error:
        return f"| {CASES[name].adapter} | {name} | {type(error).__name__}: {error} | | | | |"
    seconds = time.perf_counter() - started
    with np.load(folder / f"{name}.npz") as held_out:
        x, y = held_out["x"], held_out["y"]
    student_classes, teacher_classes = predictions(result.student, x), predictions(teacher, x)
    low, high = facts["input"]["low"], facts["input"]["high"]
    domain = f"{min(low):.3g} to {max(high):.3g} ({facts['input']['range_source']}), {facts['input']['layout']}"
    head = "x".join(map(str, facts["head"]["weight"])) if facts["head"] else "none"
    agreement = np.mean(student_classes == teacher_classes)
    teacher_accuracy, student_accuracy = np.mean(teacher_classes == y), np.mean(student_classes == y)
    scores = f"{agreement:.4f} (teacher {teacher_accuracy:.4f}, student {student_accuracy:.4f})"
    return f"| {CASES[name].adapter} | {name} | {domain} | {facts['classes']} | {head} | {scores} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--output", type=Path, default=OUT)
    parser.add_argument("--teachers-only", action="store_true", help="write the ONNX files, and compress none")
    options = parser.parse_args()
    variable = os.environ.get("ZSKD_ADAPTER_ENVS")
    write_teachers(options.only, options.output, Path(variable) if variable else options.output / "environments")
    shutil.rmtree(options.output / "models")
    if options.teachers_only:
        return
    print("| framework | model | input domain | classes | W | agreement on held-out digits | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        print(measure(name, options.output, options.recipe, options.set), flush=True)


if __name__ == "__main__":
    main()
