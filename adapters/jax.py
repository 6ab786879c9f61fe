# /// script
# requires-python = ">=3.11"
# dependencies = ["jax2onnx>=0.15", "flax>=0.12.1", "safetensors>=0.5", "onnx>=1.20.1", "onnxruntime>=1.24.1", "numpy>=2.0"]
# ///
"""Write a teacher file from a JAX classifier: Flax Linen, Flax NNX, or a function of weights and inputs.

  uv run adapters/jax.py weights.safetensors teacher.onnx --module net.py:make --input-shape 8,8,1

Takes weights (.safetensors, .npz or .msgpack) for what a factory of yours makes: a Linen module, an NNX
module, or a function (weights, x). The names of nested weights join with dots or slashes.
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

# Python puts a script's folder first on sys.path, where `import jax` or `import keras` would find an adapter.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

if TYPE_CHECKING:  # the rest is imported where it is used: --help and a wrong option need none of it
    import numpy as np
    import onnx

    Bounds = tuple[np.ndarray, np.ndarray]

USAGE, UNSUPPORTED, DIFFERENT = 2, 3, 4
TRUST = "give --allow-pickle if you trust its origin"
OPSET = 21


def sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--module", required=True, metavar="FILE.PY:FACTORY", help="or package.module:factory")
    parser.add_argument("--input-shape", required=True, type=sizes, metavar="H,W,C", help="of one sample")


def convert(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import jax2onnx

    run = with_weights(options, make(options.module), read_weights(options.model))
    shape: tuple[int, ...] = options.input_shape
    metadata, bounds = domain(options, shape, "NHWC")
    x = samples(options, shape, "float32", bounds)
    try:
        expected = np.asarray(jax.jit(run)(x))
    except Exception as error:
        message = f"does not run with --module {options.module} on samples of shape {shape}: {one_line(error)}"
        raise Failure(USAGE, f"{options.model}: {message}") from error
    if expected.ndim != 2:
        raise Failure(UNSUPPORTED, f"{options.model}: gives shape {expected.shape}, expected scores (N, K)")
    try:
        proto = jax2onnx.to_onnx(run, [("batch", *shape)], opset=OPSET, input_names=["input"], output_names=["output"])
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: jax2onnx cannot convert it: {one_line(error)}") from error
    return deliver(options, proto, metadata, x, expected)


def read_weights(path: Path) -> dict[str, Any]:
    """Arrays by their path, parts joined with dots; none of the formats can hold code."""
    import numpy as np
    from flax import serialization, traverse_util
    from safetensors.numpy import load_file

    if path.suffix not in (".safetensors", ".npz", ".msgpack"):
        raise Failure(USAGE, f"{path}: expected weights as .safetensors, .npz or .msgpack")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        elif path.suffix == ".npz":
            found = dict(np.load(path, allow_pickle=False))
        else:
            nested = traverse_util.flatten_dict(serialization.msgpack_restore(path.read_bytes()))
            found = {".".join(map(str, parts)): value for parts, value in nested.items()}
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{path}: cannot be read as {path.suffix}: {one_line(error)}") from error
    return {key.replace("/", "."): value for key, value in found.items()}


def with_weights(options: argparse.Namespace, made: Any, weights: dict[str, Any]) -> Callable[[Any], Any]:
    """The classifier as a function of its inputs, in inference mode."""
    import jax.numpy as jnp
    from flax import linen, nnx, traverse_util

    if isinstance(made, nnx.Module):
        made.eval()
        own = nnx.to_flat_state(nnx.state(made, nnx.Not(nnx.RngState)))
        expected = {".".join(map(str, path)): variable.shape for path, variable in own}
        for key in sorted(expected.keys() | weights.keys()):
            found = weights[key].shape if key in weights else None
            if found != expected.get(key):
                message = (
                    f"does not fit --module {options.module}: {key} has shape {found}, expected {expected.get(key)}"
                )
                raise Failure(USAGE, f"{options.model}: {message}")
        named = zip(own, expected, strict=True)
        nnx.update(made, nnx.from_flat_state([(p, v.replace(jnp.asarray(weights[key]))) for (p, v), key in named]))
        return made
    nested = traverse_util.unflatten_dict(weights, sep=".")
    if isinstance(made, linen.Module):
        return lambda x: made.apply(nested if "params" in nested else {"params": nested}, x)
    if not callable(made):
        raise Failure(USAGE, f"--module {options.module}: gave {type(made).__name__}, expected a module or a function")
    return lambda x: made(nested, x)


def make(factory: str) -> Any:
    """What a factory gives, named "file.py:factory" or "package.module:factory"."""
    place, _, name = factory.rpartition(":")
    sys.path.append(str(Path.cwd()))
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec
            assert spec.loader
            module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return getattr(module, name)()
    except Exception as error:
        message = f"--module {factory}: {type(error).__name__}: {one_line(error)}; expected file.py:factory"
        raise Failure(USAGE, message) from error


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
