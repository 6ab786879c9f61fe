# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.9", "onnx>=1.19", "onnxscript>=0.5.4", "onnxruntime>=1.23", "safetensors>=0.5", "numpy>=2.0"]
#
# # On Linux the registry's torch brings gigabytes of CUDA, for which an export has no use.
# [tool.uv.sources]
# torch = { index = "pytorch-cpu" }
# [[tool.uv.index]]
# name = "pytorch-cpu"
# url = "https://download.pytorch.org/whl/cpu"
# explicit = true
# ///
"""Write a teacher file from a PyTorch classifier.

  uv run adapters/pytorch.py weights.pt teacher.onnx --module net.py:make --input-shape 1,8,8
  uv run adapters/pytorch.py program.pt2 teacher.onnx --allow-pickle

Takes weights (.safetensors, or a .pt that holds nothing else) for the module that a factory of yours
makes; with --allow-pickle also a whole module (.pt) or an exported program (.pt2).
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

# Python puts a script's folder first on sys.path, where `import jax` or `import keras` would find an adapter.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

if TYPE_CHECKING:  # the rest is imported where it is used: --help and a wrong option need none of it
    import numpy as np
    import onnx
    import torch

    Bounds = tuple[np.ndarray, np.ndarray]

USAGE, UNSUPPORTED, DIFFERENT = 2, 3, 4
TRUST = "give --allow-pickle if you trust its origin"
OPSET = 18


def sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--module", metavar="FILE.PY:FACTORY", help="or package.module:factory; makes the module")
    parser.add_argument("--input-shape", type=sizes, metavar="C,H,W", help="of one sample")


def convert(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    model, example = load_program(options) if options.model.suffix == ".pt2" else load_module(options)
    run = model.module() if isinstance(model, torch.export.ExportedProgram) else model
    shape = tuple(example.shape[1:])
    metadata, bounds = domain(options, shape, "NCHW")
    x = samples(options, shape, str(example.dtype).removeprefix("torch."), bounds)
    try:
        with torch.no_grad():
            answer = run(torch.from_numpy(x))
    except RuntimeError as error:
        raise Failure(USAGE, f"{options.model}: does not run on samples of shape {shape}: {one_line(error)}") from error
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
        raise Failure(UNSUPPORTED, f"{options.model}: expected one tensor of scores (N, K), got {kind(answer)}")
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
        node.ClearField("metadata_props")  # lines of the module's source, with their paths
    return deliver(options, proto, metadata, x, answer.numpy())


def load_program(options: argparse.Namespace) -> tuple[torch.export.ExportedProgram, torch.Tensor]:
    """An exported program, and an example of its input."""
    import torch

    if not options.allow_pickle:  # torch.export.load unpickles constants and evaluates the text of symbolic sizes
        raise Failure(USAGE, f"{options.model}: an exported program can run code when it is read; {TRUST}")
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
    """A module with its weights, ready for inference, and an example of its input."""
    import pickle

    import torch
    from safetensors.torch import load_file

    found: Any
    if options.allow_pickle:
        sys.path.append(str(Path.cwd()))  # a pickled module's class may be defined there
    try:
        if options.model.suffix == ".safetensors":
            found = load_file(options.model)
        else:
            found = torch.load(options.model, map_location="cpu", weights_only=not options.allow_pickle)
    except pickle.UnpicklingError as error:
        if options.allow_pickle or "weights_only" not in str(error):
            raise Failure(UNSUPPORTED, f"{options.model}: torch cannot read it: {one_line(error)}") from error
        raise Failure(USAGE, f"{options.model}: holds pickled objects, not weights alone; {TRUST}") from error
    except Exception as error:
        raise Failure(UNSUPPORTED, f"{options.model}: torch cannot read it: {one_line(error)}") from error
    if not isinstance(found, torch.nn.Module):
        if options.module is None:
            raise Failure(USAGE, f"{options.model}: holds weights alone; name what makes the module with --module")
        weights = found.get("state_dict", found) if isinstance(found, dict) else found
        found = make(options.module)
        try:
            found.load_state_dict(weights)
        except Exception as error:
            raise Failure(
                USAGE, f"{options.model}: does not fit --module {options.module}: {one_line(error)}"
            ) from error
    if not options.input_shape:
        raise Failure(USAGE, f"{options.model}: does not say what it takes; give --input-shape, such as 3,224,224")
    return found.float().eval(), torch.zeros(2, *options.input_shape)


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


def kind(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__


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
