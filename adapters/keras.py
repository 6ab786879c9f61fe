# /// script
# requires-python = ">=3.11,<3.14"  # TensorFlow has no build for later ones
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
"""Write a teacher file from a Keras classifier.

  uv run adapters/keras.py model.keras teacher.onnx --input-range 0,255

Takes .keras, .h5, or the folder of a SavedModel. A softmax at the end of the model is left out where a
layer of its own or the last Dense layer makes it, so that the file gives logits.
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

# Python puts a script's folder first on sys.path, where `import jax` or `import keras` would find an adapter.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

if TYPE_CHECKING:  # the rest is imported where it is used: --help and a wrong option need none of it
    import numpy as np
    import onnx

    Bounds = tuple[np.ndarray, np.ndarray]

USAGE, UNSUPPORTED, DIFFERENT = 2, 3, 4
TRUST = "give --allow-pickle if you trust its origin"
OPSET = 18  # the last that tf2onnx writes


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep-softmax", action="store_true", help="leave the model's end as it is")


def convert(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    import tensorflow as tf
    import tf2onnx

    run, given = load_saved_model(options.model) if options.model.is_dir() else load_model(options)
    if given.shape.rank is None or None in given.shape[1:]:
        raise Failure(UNSUPPORTED, f"{options.model}: takes {given.shape}, expected fixed sizes after the batch")
    shape = tuple(given.shape[1:])
    metadata, bounds = domain(options, shape, "NHWC")
    x = samples(options, shape, given.dtype.name, bounds)
    expected = np.asarray(run(tf.constant(x)))
    if expected.ndim != 2:
        raise Failure(UNSUPPORTED, f"{options.model}: gives shape {expected.shape}, expected scores (N, K)")
    logits = None if options.keep_softmax or options.model.is_dir() else without_softmax(run)
    spec = tf.TensorSpec((None, *shape), given.dtype, name="input")
    try:
        proto, _ = tf2onnx.convert.from_function(tf.function(logits or run), [spec], opset=OPSET)
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: tf2onnx cannot convert it: {one_line(error)}") from error

    def probabilities(outputs: list[Any]) -> np.ndarray:
        raised = np.exp(outputs[0] - outputs[0].max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    return deliver(options, proto, metadata, x, expected, *([probabilities] if logits else []))


def load_saved_model(folder: Path) -> tuple[Callable[[Any], Any], Any]:
    """What a SavedModel's signature computes, and the description of its input."""
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
    # The reference to what was loaded keeps its variables alive.
    return lambda x, _alive=loaded: signature(**{name: x})[output], inputs[name]


def load_model(options: argparse.Namespace) -> tuple[Any, Any]:
    """A Keras model in inference mode, and the description of its input."""
    import keras
    import tensorflow as tf

    try:
        model = keras.saving.load_model(options.model, compile=False, safe_mode=not options.allow_pickle)
    except Exception as error:
        if "safe_mode" in str(error) or "unsafe deserialization" in str(error):
            raise Failure(USAGE, f"{options.model}: a Lambda layer holds code; {TRUST}") from error
        advice = "model.export(folder) writes a SavedModel, which needs no class"
        raise Failure(UNSUPPORTED, f"{options.model}: Keras cannot read it: {one_line(error)}; {advice}") from error
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        found = f"{len(inputs)} inputs and {len(outputs)} outputs"
        raise Failure(UNSUPPORTED, f"{options.model}: has {found}, expected one of each; model.export(folder) may help")
    model.trainable = False
    return model, tf.TensorSpec(inputs[0].shape, inputs[0].dtype)


def without_softmax(model: Any) -> Any:
    """The model up to its logits if one layer, used once, ends it with a softmax over the classes.

    A sigmoid stays: without it a file with one score does not tell that it has two classes.
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


# From here to the end all adapters are alike: each is one file that works alone. A test compares them.


class Failure(Exception):
    """Ends the run with one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def domain(
    options: argparse.Namespace, shape: tuple[int, ...], layout: str | None, known: Bounds | None = None
) -> tuple[dict[str, str], Bounds]:
    """Where inputs live: as metadata, and as the lowest and highest value that the file takes.

    Args:
        shape: of one sample.
        layout: of an image, where no option says.
        known: bounds that the model itself tells, where no option says.
    """
    import numpy as np

    layout = (options.layout or layout) if len(shape) == 3 else None
    channels = shape[0] if layout == "NCHW" else shape[-1]
    given = {key: getattr(options, key) for key in ("input_range", "mean", "std") if getattr(options, key)}
    for key in given.keys() & {"mean", "std"}:
        if len(given[key]) not in (1, channels):
            raise Failure(USAGE, f"--{key}: got {len(given[key])} numbers, expected 1 or {channels}")
    tells = known is not None and not given
    if known is None or given:
        raw, mean, std = (np.array(given.get(k, v)) for k, v in (("input_range", [0, 1]), ("mean", [0]), ("std", [1])))
        known = ((raw[0] - mean) / std, (raw[1] - mean) / std)
    if tells or (len(shape) == 1 and len(known[0]) > 1):  # for a vector the other keys hold one number
        given = {"low": known[0], "high": known[1]}
    metadata = {f"zskd.{key}": ",".join(f"{n:.9g}" for n in values) for key, values in given.items()}
    rank = (-1, 1, 1) if layout == "NCHW" else (-1,)
    return metadata | ({"zskd.layout": layout} if layout else {}), (known[0].reshape(rank), known[1].reshape(rank))


def samples(options: argparse.Namespace, shape: tuple[int, ...], dtype: str, bounds: Bounds) -> np.ndarray:
    """Inputs on which file and framework have to agree: the user's, or random ones in the domain."""
    import numpy as np

    if options.check_data is None:
        x = np.random.default_rng(0).uniform(*bounds, (64, *shape))
        return (np.rint(x) if np.issubdtype(dtype, np.integer) else x).astype(dtype)
    try:
        x = np.load(options.check_data)["x"].astype(dtype)
    except (OSError, ValueError, LookupError) as error:
        raise Failure(
            USAGE, f"--check-data {options.check_data}: {one_line(error)}; expected an .npz with x"
        ) from error
    if x.shape[1:] != shape or not len(x):
        raise Failure(USAGE, f"--check-data {options.check_data}: x has shape {x.shape}, expected (N, *{shape})")
    return x


def deliver(
    options: argparse.Namespace,
    model: onnx.ModelProto,
    metadata: dict[str, str],
    x: np.ndarray,
    expected: np.ndarray,
    scores: Callable[[list[Any]], np.ndarray] = lambda outputs: outputs[0],
) -> dict[str, Any]:
    """Write the file if onnxruntime gives with it what the framework gave.

    Args:
        expected: the framework's answer to ``x``, a row of scores for each sample.
        scores: from the file's outputs to the same.
    """
    import numpy as np
    import onnx
    import onnxruntime

    if options.classes:
        metadata["zskd.classes"] = json.dumps(options.classes)
        wanted = max(expected.shape[1], 2)  # one score stands for two classes
        if len(options.classes) != wanted:
            raise Failure(USAGE, f"--classes: got {len(options.classes)} names, the model has {wanted} classes")
    onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | metadata)
    partial = options.output.with_name(f".{options.output.name}.partial")
    try:
        onnx.save(model, partial)
        try:
            session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            answers = [scores(session.run(None, {name: x[:count]})) for count in (len(x), 1)]
        except Exception as error:
            raise Failure(UNSUPPORTED, f"{options.model}: its export does not run: {one_line(error)}") from error
        if [a.shape for a in answers] != [expected.shape, expected[:1].shape]:
            raise Failure(DIFFERENT, f"{options.output}: not written: scores of shape {answers[0].shape}")
        difference = max(float(np.abs(a - expected[: len(a)]).max()) for a in answers)
        allowed = options.tolerance * max(1.0, float(np.abs(expected).max()))
        if not difference <= allowed:
            raise Failure(
                DIFFERENT,
                f"{options.output}: not written: its scores differ from those of {options.model} by {difference:.3g}, "
                f"expected {allowed:.3g} or less; --tolerance allows more",
            )
        partial.replace(options.output)
    finally:
        partial.unlink(missing_ok=True)
    check = {"samples": len(x), "max_abs_difference": difference}
    return {"teacher": str(options.output), "source": str(options.model), "metadata": metadata, "check": check}


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and takes -1,1 for a value."""

    def __init__(self) -> None:
        super().__init__(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._negative_number_matcher = re.compile(r"^-[\d.]")

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"error: {message}; see --help\n")


def numbers(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"expected numbers with commas, got '{text}'")
    return values


def names(text: str) -> list[str]:
    return Path(text).read_text(encoding="utf-8").splitlines() if Path(text).is_file() else text.split(",")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser()
    parser.add_argument("model", type=Path, help="what the framework saved")
    parser.add_argument("output", type=Path, help="the .onnx file to write")
    add_options(parser)
    parser.add_argument("--input-range", type=numbers, metavar="LOW,HIGH", help="of raw values, such as 0,255")
    parser.add_argument("--mean", type=numbers, metavar="M,..", help="the model takes (raw - mean) / std")
    parser.add_argument("--std", type=numbers, metavar="S,..", help="one number, or one for each channel or feature")
    parser.add_argument("--layout", choices=("NCHW", "NHWC"), help="of images (default: the framework's)")
    parser.add_argument(
        "--classes", type=names, metavar="A,B,..|FILE", help="class names in order; a file has one a line"
    )
    parser.add_argument("--allow-pickle", action="store_true", help="read files that can run code")
    parser.add_argument("--check-data", type=Path, metavar="NPZ", help="compare on its x (default: random inputs)")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of the comparison, as part of the largest score")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the result on stdout")
    options = parser.parse_args(arguments)
    if not options.model.exists():
        parser.error(f"{options.model}: no such file")
    if options.output.suffix != ".onnx" or not options.output.parent.is_dir():
        parser.error(f"{options.output}: expected a name that ends in .onnx, in a folder that exists")
    if options.input_range and (len(options.input_range) != 2 or options.input_range[0] >= options.input_range[1]):
        parser.error("--input-range: expected the lowest and the highest value, such as 0,255")
    if options.std and min(options.std) <= 0:
        parser.error("--std: expected positive numbers")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout holds the result alone
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
