# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.9", "onnx>=1.19", "onnxscript>=0.5.4", "onnxruntime>=1.23", "safetensors>=0.5", "numpy>=2.0"]
#
# # On Linux the default torch includes gigabytes of CUDA libraries, which an export does not need.
# [tool.uv.sources]
# torch = { index = "pytorch-cpu" }
# [[tool.uv.index]]
# name = "pytorch-cpu"
# url = "https://download.pytorch.org/whl/cpu"
# explicit = true
# ///
"""Write the ONNX file of a teacher from a PyTorch classifier.

  uv run adapters/pytorch.py weights.pt teacher.onnx --module net.py:make --input-shape 1,8,8
  uv run adapters/pytorch.py program.pt2 teacher.onnx --allow-pickle

The input is weights (.safetensors, or a .pt file without other objects) for a module that your own
factory function returns. With --allow-pickle it can also be a pickled module (.pt) or an exported
program (.pt2).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
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
    import torch

    Bounds = tuple[np.ndarray, np.ndarray]

USAGE, UNSUPPORTED, DIFFERENT = 2, 3, 4
TRUST = "add --allow-pickle if you trust its origin"
OPSET = 18


def sizes(text: str) -> tuple[int, ...]:
    """Parse an option such as "3,224,224"."""
    return tuple(map(int, text.split(",")))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this script has."""
    parser.add_argument(
        "--module", metavar="FILE.PY:FACTORY", help="function that returns the module; also package.module:factory"
    )
    parser.add_argument("--input-shape", type=sizes, metavar="C,H,W", help="shape of one sample")


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Read the model, write the file, and return the JSON object that the script prints."""
    import torch

    model, example = load_program(options) if options.model.suffix == ".pt2" else load_module(options)
    run = model.module() if isinstance(model, torch.export.ExportedProgram) else model
    shape = tuple(example.shape[1:])
    metadata, bounds = domain(options, shape, "NCHW")
    x = samples(options, shape, str(example.dtype).removeprefix("torch."), bounds)
    try:
        with torch.no_grad():
            scores = run(torch.from_numpy(x))
    except RuntimeError as error:
        raise Failure(USAGE, f"{options.model}: does not run on samples of shape {shape}: {one_line(error)}") from error
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        message = f"returns {describe(scores)}, expected one tensor of scores (N, K)"
        raise Failure(UNSUPPORTED, f"{options.model}: {message}")
    try:
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if run is model else None,
            verbose=False,
        )
    except Exception as error:
        cause = one_line(error.__cause__ or error)
        raise Failure(UNSUPPORTED, f"{options.model}: torch.onnx cannot export it: {cause}") from error
    assert program is not None
    proto = program.model_proto
    for node in (node for part in (proto.graph, *proto.functions) for node in part.node):
        node.ClearField("metadata_props")  # they hold lines and paths of the module's source
    return compare_and_write(options, proto, metadata, x, scores.numpy())


def load_program(options: argparse.Namespace) -> tuple[torch.export.ExportedProgram, torch.Tensor]:
    """An exported program, and an example input (2, ...)."""
    import torch

    if not options.allow_pickle:  # torch.export.load unpickles constants and evaluates the text of symbolic sizes
        raise Failure(USAGE, f"{options.model}: reading an exported program can run code; {TRUST}")
    try:
        program = torch.export.load(options.model)
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: torch.export cannot read it: {one_line(error)}") from error
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise Failure(UNSUPPORTED, f"{options.model}: takes {len(inputs)} inputs, expected one tensor")
    batch, *shape = inputs[0].shape
    if isinstance(batch, int):
        advice = "export it with dynamic_shapes=({0: torch.export.Dim('batch')},)"
        raise Failure(UNSUPPORTED, f"{options.model}: its batch size is fixed at {batch}; {advice}")
    return program, torch.zeros(2, *shape, dtype=inputs[0].dtype)


def load_module(options: argparse.Namespace) -> tuple[torch.nn.Module, torch.Tensor]:
    """A module with its weights, ready for inference, and an example input (2, ...)."""
    import pickle

    import torch
    from safetensors.torch import load_file

    content: Any
    if options.allow_pickle:
        sys.path.append(str(Path.cwd()))  # a pickled module's class may be defined there
    try:
        if options.model.suffix == ".safetensors":
            content = load_file(options.model)
        else:
            content = torch.load(options.model, map_location="cpu", weights_only=not options.allow_pickle)
    except pickle.UnpicklingError as error:
        if options.allow_pickle or "weights_only" not in str(error):
            raise Failure(UNSUPPORTED, f"{options.model}: torch cannot read it: {one_line(error)}") from error
        raise Failure(USAGE, f"{options.model}: contains pickled objects besides weights; {TRUST}") from error
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: torch cannot read it: {one_line(error)}") from error
    if not isinstance(content, torch.nn.Module):
        if options.module is None:
            raise Failure(
                USAGE, f"{options.model}: contains only weights; name the factory of the module with --module"
            )
        weights = content.get("state_dict", content) if isinstance(content, dict) else content
        content = call_factory(options.module)
        try:
            content.load_state_dict(weights)
        except Exception as error:
            raise Failure(
                USAGE, f"{options.model}: does not fit --module {options.module}: {one_line(error)}"
            ) from error
    if not options.input_shape:
        raise Failure(
            USAGE, f"{options.model}: does not hold its input shape; give it with --input-shape, such as 3,224,224"
        )
    return content.float().eval(), torch.zeros(2, *options.input_shape)


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


def describe(value: Any) -> str:
    """The shape of a tensor, or the type of any other value."""
    return f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__


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
