# /// script
# requires-python = ">=3.11"
# dependencies = ["jax2onnx>=0.15", "flax>=0.12.1", "safetensors>=0.5", "onnx>=1.20.1", "onnxruntime>=1.24.1", "numpy>=2.0"]
# ///
"""Write the ONNX file of a teacher from a JAX classifier: Flax Linen, Flax NNX, or a function.

  uv run adapters/jax.py weights.safetensors teacher.onnx --module net.py:make --input-shape 8,8,1

The input is weights (.safetensors, .npz or .msgpack) for the model that your own factory function
returns: a Linen module, an NNX module, or a function (weights, x). Names of nested weights are
joined with dots or slashes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
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
OPSET = 21


def sizes(text: str) -> tuple[int, ...]:
    """Parse an option such as "3,224,224"."""
    return tuple(map(int, text.split(",")))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this script has."""
    parser.add_argument(
        "--module",
        required=True,
        metavar="FILE.PY:FACTORY",
        help="function that returns the model; also package.module:factory",
    )
    parser.add_argument("--input-shape", required=True, type=sizes, metavar="H,W,C", help="shape of one sample")


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Read the model, write the file, and return the JSON object that the script prints."""
    import numpy as np

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import jax2onnx

    run = with_weights(options, call_factory(options.module), read_weights(options.model))
    shape: tuple[int, ...] = options.input_shape
    metadata, bounds = domain(options, shape, "NHWC")
    x = samples(options, shape, "float32", bounds)
    try:
        expected = np.asarray(jax.jit(run)(x))
    except Exception as error:
        message = f"does not run with --module {options.module} on samples of shape {shape}: {one_line(error)}"
        raise Failure(USAGE, f"{options.model}: {message}") from error
    if expected.ndim != 2:
        raise Failure(UNSUPPORTED, f"{options.model}: returns shape {expected.shape}, expected scores (N, K)")
    try:
        proto = jax2onnx.to_onnx(run, [("batch", *shape)], opset=OPSET, input_names=["input"], output_names=["output"])
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: jax2onnx cannot convert it: {one_line(error)}") from error
    return compare_and_write(options, proto, metadata, x, expected)


def read_weights(path: Path) -> dict[str, Any]:
    """Path of each weight, its parts joined with dots -> array. None of the formats can hold code."""
    import numpy as np
    from flax import serialization, traverse_util
    from safetensors.numpy import load_file

    if path.suffix not in (".safetensors", ".npz", ".msgpack"):
        raise Failure(USAGE, f"{path}: expected weights as .safetensors, .npz or .msgpack")
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        elif path.suffix == ".npz":
            weights = dict(np.load(path, allow_pickle=False))
        else:
            nested = traverse_util.flatten_dict(serialization.msgpack_restore(path.read_bytes()))
            weights = {".".join(map(str, parts)): value for parts, value in nested.items()}
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{path}: cannot be read as {path.suffix}: {one_line(error)}") from error
    return {key.replace("/", "."): value for key, value in weights.items()}


def with_weights(options: argparse.Namespace, model: Any, weights: dict[str, Any]) -> Callable[[Any], Any]:
    """The classifier as a function of its inputs, in inference mode.

    Args:
        model: the result of the factory.
    """
    import jax.numpy as jnp
    from flax import linen, nnx, traverse_util

    if isinstance(model, nnx.Module):
        model.eval()
        variables = nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.RngState)))
        expected = {".".join(map(str, path)): variable.shape for path, variable in variables}
        for key in sorted(expected.keys() | weights.keys()):
            shape = weights[key].shape if key in weights else None
            if shape != expected.get(key):
                message = (
                    f"does not fit --module {options.module}: {key} has shape {shape}, expected {expected.get(key)}"
                )
                raise Failure(USAGE, f"{options.model}: {message}")
        named = zip(variables, expected, strict=True)
        nnx.update(model, nnx.from_flat_state([(p, v.replace(jnp.asarray(weights[key]))) for (p, v), key in named]))
        return model
    nested = traverse_util.unflatten_dict(weights, sep=".")
    if isinstance(model, linen.Module):
        return lambda x: model.apply(nested if "params" in nested else {"params": nested}, x)
    if not callable(model):
        message = f"--module {options.module}: returned {type(model).__name__}, expected a module or a function"
        raise Failure(USAGE, message)
    return lambda x: model(nested, x)


def call_factory(factory: str) -> Any:
    """The result of a factory, named "file.py:factory" or "package.module:factory"."""
    location, _, name = factory.rpartition(":")
    sys.path.append(str(Path.cwd()))
    try:
        if location.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(location).stem, location)
            assert spec
            assert spec.loader
            module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(location)
        return getattr(module, name)()
    except Exception as error:
        message = f"--module {factory}: {type(error).__name__}: {one_line(error)}; expected FILE.PY:FACTORY"
        raise Failure(USAGE, message) from error


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
