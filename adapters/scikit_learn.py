# /// script
# requires-python = ">=3.11"
# dependencies = ["scikit-learn>=1.5", "skl2onnx>=1.18", "skops>=0.13", "onnx>=1.19", "onnxruntime>=1.23", "numpy>=2.0"]
# ///
"""Write the ONNX file of a teacher from a scikit-learn classifier, or from a pipeline that ends in one.

  uv run adapters/scikit_learn.py model.skops teacher.onnx
  uv run adapters/scikit_learn.py model.pkl teacher.onnx --allow-pickle --input-range 0,16

The input is a skops file, or with --allow-pickle a pickle or joblib file. If the pipeline begins with a
StandardScaler, MinMaxScaler or MaxAbsScaler, the range of each feature is taken from it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Python puts a script's folder first on sys.path, so `import jax` or `import keras` would import an adapter.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

if TYPE_CHECKING:  # imported where they are used, so that --help and a wrong option need no packages
    import numpy as np
    import onnx

    Bounds = tuple[np.ndarray, np.ndarray]

USAGE, UNSUPPORTED, DIFFERENT = 2, 3, 4
TRUST = "add --allow-pickle if you trust its origin"
OPSET = {"": 18, "ai.onnx.ml": 3}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this script has."""
    parser.add_argument("--trust", default="", metavar="TYPE,..", help="further types that the skops file may contain")
    parser.add_argument(
        "--zipmap", action="store_true", help="write probabilities as a list of maps from class to probability"
    )


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Read the model, write the file, and return the JSON object that the script prints."""
    import numpy as np
    import onnx
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.base import is_classifier

    model = load(options)
    features = getattr(model, "n_features_in_", None)
    if not is_classifier(model) or features is None:
        raise Failure(UNSUPPORTED, f"{options.model}: contains a {type(model).__name__}, expected a trained classifier")
    if not isinstance(model.classes_, np.ndarray):
        raise Failure(UNSUPPORTED, f"{options.model}: has several outputs of classes, expected one")
    options.classes = options.classes or [str(name) for name in model.classes_]
    metadata, bounds = domain(options, (features,), None, bounds_of_scaler(model))
    x = samples(options, (features,), "float32", bounds)
    try:
        expected = (model.predict_proba if hasattr(model, "predict_proba") else model.decision_function)(x)
        final = model[-1] if hasattr(model, "steps") else model
        proto = skl2onnx.to_onnx(
            model,
            initial_types=[("input", FloatTensorType([None, features]))],
            options={id(final): {"zipmap": options.zipmap}},
            target_opset=OPSET,
        )
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: skl2onnx cannot convert it: {one_line(error)}") from error
    imported = {entry.domain: entry.version for entry in proto.opset_import}  # skl2onnx may list a domain twice
    del proto.opset_import[:]
    proto.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in imported.items())

    def scores(outputs: list[Any]) -> np.ndarray:
        return np.array([list(row.values()) for row in outputs[1]]) if options.zipmap else outputs[1]

    return compare_and_write(options, proto, metadata, x, expected, scores)


def load(options: argparse.Namespace) -> Any:
    """The estimator. A skops file, which is a zip file, may contain only types that skops or the user trusts."""
    import zipfile

    import joblib
    import skops.io

    if not zipfile.is_zipfile(options.model):
        if not options.allow_pickle:
            raise Failure(
                USAGE, f"{options.model}: reading a pickle can run code; {TRUST}, or save the model with skops"
            )
        sys.path.append(str(Path.cwd()))  # a pickled class may be defined there
        try:
            return joblib.load(options.model)
        except Exception as error:
            raise Failure(UNSUPPORTED, f"{options.model}: joblib cannot read it: {one_line(error)}") from error
    trusted = [name for name in options.trust.split(",") if name]
    try:
        unknown = skops.io.get_untrusted_types(file=options.model)
        untrusted = sorted(set(unknown) - set(trusted))
        if not untrusted or options.allow_pickle:
            return skops.io.load(options.model, trusted=unknown)
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: skops cannot read it: {one_line(error)}") from error
    message = f"contains types that skops does not trust; if you do, add --trust {','.join(untrusted)}"
    raise Failure(USAGE, f"{options.model}: {message}")


def bounds_of_scaler(model: Any) -> Bounds | None:
    """The lowest and highest value of each feature, from the scaler at a pipeline's start; None without one.

    For a StandardScaler they are the mean plus and minus 3 standard deviations. A constant feature
    gets a range of width 1, which is what the scaler divides it by.
    """
    import numpy as np
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

    first = model[0] if hasattr(model, "steps") else model
    if isinstance(first, MinMaxScaler):
        return first.data_min_, first.data_min_ + np.where(first.data_range_ == 0, 1, first.data_range_)
    if isinstance(first, MaxAbsScaler):
        return -first.scale_, first.scale_
    if isinstance(first, StandardScaler):
        mean = np.zeros(first.n_features_in_) if first.mean_ is None else first.mean_
        scale = np.ones_like(mean) if first.scale_ is None else first.scale_
        return mean - 3 * scale, mean + 3 * scale
    return None


# From here to the end all adapters are identical, so that each is a single file. A test compares them.


class Failure(Exception):
    """Ends the run with a message of one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def domain(
    options: argparse.Namespace, shape: tuple[int, ...], layout: str | None, model_bounds: Bounds | None = None
) -> tuple[dict[str, str], Bounds]:
    """The input domain as metadata, and as the lowest and highest value that the file accepts.

    Args:
        shape: shape of one sample.
        layout: layout of images if no option gives it, "NCHW" or "NHWC"; None for vectors.
        model_bounds: bounds from the model itself, which apply if no option gives a range.
    """
    import numpy as np

    layout = (options.layout or layout) if len(shape) == 3 else None
    channels = shape[0] if layout == "NCHW" else shape[-1]
    properties = {key: getattr(options, key) for key in ("input_range", "mean", "std") if getattr(options, key)}
    for key in properties.keys() & {"mean", "std"}:
        if len(properties[key]) not in (1, channels):
            raise Failure(USAGE, f"--{key}: got {len(properties[key])} numbers, expected 1 or {channels}")
    if model_bounds is not None and not properties:
        low, high = model_bounds
        properties = {"low": low, "high": high}
    else:
        defaults = (("input_range", [0, 1]), ("mean", [0]), ("std", [1]))
        raw, mean, std = (np.array(properties.get(key, default)) for key, default in defaults)
        low, high = (raw[0] - mean) / std, (raw[1] - mean) / std
        if len(shape) == 1 and len(low) > 1:  # one number per feature, which only these two keys can hold
            properties = {"low": low, "high": high}
    metadata = {f"zskd.{key}": ",".join(f"{n:.9g}" for n in values) for key, values in properties.items()}
    rank = (-1, 1, 1) if layout == "NCHW" else (-1,)
    return metadata | ({"zskd.layout": layout} if layout else {}), (low.reshape(rank), high.reshape(rank))


def samples(options: argparse.Namespace, shape: tuple[int, ...], dtype: str, bounds: Bounds) -> np.ndarray:
    """Inputs (N, *shape) on which file and framework are compared: random ones, or those of --check-data."""
    import numpy as np

    if options.check_data is None:
        x = np.random.default_rng(0).uniform(*bounds, (64, *shape))
        return (np.rint(x) if np.issubdtype(dtype, np.integer) else x).astype(dtype)
    try:
        x = np.load(options.check_data)["x"].astype(dtype)
    except (OSError, ValueError, LookupError) as error:
        raise Failure(
            USAGE, f"--check-data {options.check_data}: {one_line(error)}; expected an .npz file with an array x"
        ) from error
    if x.shape[1:] != shape or not len(x):
        raise Failure(USAGE, f"--check-data {options.check_data}: x has shape {x.shape}, expected (N, *{shape})")
    return x


def compare_and_write(
    options: argparse.Namespace,
    model: onnx.ModelProto,
    metadata: dict[str, str],
    x: np.ndarray,
    expected: np.ndarray,
    scores: Callable[[list[Any]], np.ndarray] = lambda outputs: outputs[0],
) -> dict[str, Any]:
    """Write the file if its scores in onnxruntime match the framework's.

    Args:
        model: the converted model.
        metadata: entries for the file.
        x: samples (N, ...).
        expected: scores (N, K) of the framework for ``x``.
        scores: computes scores (N, K) from the file's outputs.

    Returns:
        The JSON object that the script prints.
    """
    import numpy as np
    import onnx
    import onnxruntime

    if options.classes:
        metadata["zskd.classes"] = json.dumps(options.classes)
        count = max(expected.shape[1], 2)  # a single score stands for two classes
        if len(options.classes) != count:
            raise Failure(USAGE, f"--classes: got {len(options.classes)} names, but the model has {count} classes")
    onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | metadata)
    partial = options.output.with_name(f".{options.output.name}.partial")
    try:
        onnx.save(model, partial)
        try:
            session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            actual = [scores(session.run(None, {name: x[:size]})) for size in (len(x), 1)]
        except Exception as error:
            raise Failure(
                UNSUPPORTED, f"{options.model}: onnxruntime cannot run the export: {one_line(error)}"
            ) from error
        if [a.shape for a in actual] != [expected.shape, expected[:1].shape]:
            shapes = f"its scores have shape {actual[0].shape}, expected {expected.shape}"
            raise Failure(DIFFERENT, f"{options.output}: not written: {shapes}")
        difference = max(float(np.abs(a - expected[: len(a)]).max()) for a in actual)
        allowed = options.tolerance * max(1.0, float(np.abs(expected).max()))
        if not difference <= allowed:
            raise Failure(
                DIFFERENT,
                f"{options.output}: not written: its scores differ from those of {options.model} by {difference:.3g}, "
                f"expected at most {allowed:.3g}; --tolerance raises that limit",
            )
        partial.replace(options.output)
    finally:
        partial.unlink(missing_ok=True)
    check = {"samples": len(x), "max_abs_difference": difference}
    return {"teacher": str(options.output), "source": str(options.model), "metadata": metadata, "check": check}


def one_line(error: BaseException) -> str:
    """The message of an error, or its type, in at most 300 characters without line breaks."""
    return " ".join(str(error).split())[:300] or type(error).__name__


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line, and accepts -1,1 as a value."""

    def __init__(self) -> None:
        super().__init__(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._negative_number_matcher = re.compile(r"^-[\d.]")

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"error: {message}; see --help\n")


def numbers(text: str) -> list[float]:
    """Parse an option such as "0.5,0.25"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got '{text}'")
    return values


def names(text: str) -> list[str]:
    """Parse class names, or read them from a file, one per line."""
    return Path(text).read_text(encoding="utf-8").splitlines() if Path(text).is_file() else text.split(",")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = Parser()
    parser.add_argument("model", type=Path, help="the saved model")
    parser.add_argument("output", type=Path, help="the .onnx file to write")
    add_options(parser)
    parser.add_argument(
        "--input-range", type=numbers, metavar="LOW,HIGH", help="lowest and highest raw value, such as 0,255"
    )
    parser.add_argument("--mean", type=numbers, metavar="M,..", help="the model expects (raw - mean) / std")
    parser.add_argument(
        "--std", type=numbers, metavar="S,..", help="one number, or one per channel or feature, as for --mean"
    )
    parser.add_argument("--layout", choices=("NCHW", "NHWC"), help="axis order of images (default: the framework's)")
    parser.add_argument(
        "--classes", type=names, metavar="A,B,..|FILE", help="class names in order, or a file with one name per line"
    )
    parser.add_argument(
        "--allow-pickle", action="store_true", help="also read files that can run code when they are read"
    )
    parser.add_argument(
        "--check-data", type=Path, metavar="NPZ", help="compare on its array x (default: random inputs)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="largest difference, relative to the largest score (default: 1e-4)",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="format of the result on stdout (default: text)"
    )
    options = parser.parse_args(arguments)
    if not options.model.exists():
        parser.error(f"{options.model}: no such file")
    if options.output.suffix != ".onnx" or not options.output.parent.is_dir():
        parser.error(f"{options.output}: expected a name that ends in .onnx, in an existing folder")
    if options.input_range and (len(options.input_range) != 2 or options.input_range[0] >= options.input_range[1]):
        parser.error("--input-range: expected the lowest and the highest value, such as 0,255")
    if options.std and min(options.std) <= 0:
        parser.error("--std: expected positive numbers")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    options = parse(arguments)
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
            result = convert(options)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.code
    except Exception as error:
        print(f"error: {options.model}: unexpected {type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return 1
    print(json.dumps(result) if options.format == "json" else result["teacher"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
