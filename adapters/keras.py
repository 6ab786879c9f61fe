# /// script
# requires-python = ">=3.11,<3.14"  # TensorFlow has no build for later versions
# dependencies = [
#     "keras>=3.12",
#     "tensorflow-cpu>=2.20; sys_platform == 'linux' and platform_machine == 'x86_64'",
#     "tensorflow>=2.20; sys_platform != 'linux' or platform_machine != 'x86_64'",
#     "tf2onnx>=1.17",
#     "onnx>=1.19",
#     "onnxruntime>=1.23",
#     "numpy>=2.0",
# ]
# ///
"""Write the ONNX file of a teacher from a Keras classifier.

  uv run adapters/keras.py model.keras teacher.onnx --input-range 0,255

The input is a .keras file, an .h5 file, or the folder of a SavedModel. A softmax in the last layer
of a .keras or .h5 model is removed, so that the file returns logits; --keep-softmax keeps it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
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
OPSET = 18  # the last one that tf2onnx writes


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this script has."""
    parser.add_argument("--keep-softmax", action="store_true", help="do not remove the softmax in the last layer")


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Read the model, write the file, and return the JSON object that the script prints."""
    import numpy as np

    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    import tensorflow as tf
    import tf2onnx

    run, description = load_saved_model(options.model) if options.model.is_dir() else load_model(options)
    if description.shape.rank is None or None in description.shape[1:]:
        message = f"has input shape {description.shape}, expected fixed sizes after the batch"
        raise Failure(UNSUPPORTED, f"{options.model}: {message}")
    shape = tuple(description.shape[1:])
    metadata, bounds = domain(options, shape, "NHWC")
    x = samples(options, shape, description.dtype.name, bounds)
    expected = np.asarray(run(tf.constant(x)))
    if expected.ndim != 2:
        raise Failure(UNSUPPORTED, f"{options.model}: returns shape {expected.shape}, expected scores (N, K)")
    logits = None if options.keep_softmax or options.model.is_dir() else without_softmax(run)
    spec = tf.TensorSpec((None, *shape), description.dtype, name="input")
    try:
        proto, _ = tf2onnx.convert.from_function(tf.function(logits or run), [spec], opset=OPSET)
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: tf2onnx cannot convert it: {one_line(error)}") from error

    def probabilities(outputs: list[Any]) -> np.ndarray:
        exponentials = np.exp(outputs[0] - outputs[0].max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)

    return compare_and_write(options, proto, metadata, x, expected, *([probabilities] if logits else []))


def load_saved_model(folder: Path) -> tuple[Callable[[Any], Any], Any]:
    """The function of a SavedModel's signature, and the shape and type of its input."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{folder}: TensorFlow cannot read it: {one_line(error)}") from error
    signature = loaded.signatures.get("serving_default") or loaded.signatures.get("serve")
    inputs = signature.structured_input_signature[1] if signature else {}
    if len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise Failure(UNSUPPORTED, f"{folder}: expected a signature serving_default with one input and one output")
    (name,), (output,) = inputs, signature.structured_outputs
    # The function holds a reference to the loaded object, whose variables would be deleted otherwise.
    return lambda x, _reference=loaded: signature(**{name: x})[output], inputs[name]


def load_model(options: argparse.Namespace) -> tuple[Any, Any]:
    """A Keras model in inference mode, and the shape and type of its input."""
    import keras
    import tensorflow as tf

    try:
        model = keras.saving.load_model(options.model, compile=False, safe_mode=not options.allow_pickle)
    except Exception as error:
        if "safe_mode" in str(error) or "unsafe deserialization" in str(error):
            raise Failure(USAGE, f"{options.model}: a Lambda layer contains code; {TRUST}") from error
        advice = "model.export(folder) writes a SavedModel, which does not need the classes of its layers"
        raise Failure(UNSUPPORTED, f"{options.model}: Keras cannot read it: {one_line(error)}; {advice}") from error
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        counts = f"{len(inputs)} inputs and {len(outputs)} outputs"
        raise Failure(
            UNSUPPORTED, f"{options.model}: has {counts}, expected one of each; model.export(folder) may help"
        )
    model.trainable = False
    return model, tf.TensorSpec(inputs[0].shape, inputs[0].dtype)


def without_softmax(model: Any) -> Any:
    """The model without its final softmax, or None if its last layer has none or is used more than once.

    A final sigmoid is kept, because it shows that a single score stands for two classes.
    """
    import keras

    last = model.layers[-1]
    try:
        if last.output is not model.outputs[0]:
            return None
    except (AttributeError, ValueError):  # used more than once
        return None
    softmax = getattr(last, "activation", None) is keras.activations.softmax
    if isinstance(last, keras.layers.Dense) and softmax:
        last.activation = keras.activations.linear
        return model
    if (isinstance(last, keras.layers.Activation) and softmax) or (
        isinstance(last, keras.layers.Softmax) and last.axis in (-1, 1)
    ):
        return keras.Model(model.inputs, last.input)
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
