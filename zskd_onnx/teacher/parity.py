"""The parity check: an import is accepted only if it computes what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch

from zskd_onnx.errors import ParityError, UnsupportedTeacherError
from zskd_onnx.importer.file.source import OnnxFile
from zskd_onnx.importer.file.subgraph import keep_only
from zskd_onnx.importer.passes.single_precision import ROUNDED_TO
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.graphs import Graphs
from zskd_onnx.teacher.quantisation_step import quantisation_step, rounds_to_integers
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Output

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest value where that exceeds one."""

HALF_TOLERANCE = {ir.DataType.FLOAT16: 1e-2, ir.DataType.BFLOAT16: 8e-2}
"""The same for files in half precision, which runtimes round at different places."""

UNSHARED = 1 << 26
"""Largest number of values of one sample for which onnxruntime may keep every value in memory."""

NOISE_SAMPLES = 16
"""Samples on which a quantised file is compared with itself, with and without the optimiser."""


def difference(values: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference over max(1, largest magnitude of the reference); infinite if any value is not finite."""
    if values.shape != reference.shape or not np.isfinite(values).all() or not np.isfinite(reference).all():
        return float("inf")
    return float(np.abs(values - reference).max()) / _scale(reference)


def open_onnx_file(
    source: OnnxFile,
    outputs: Sequence[str],
    *,
    optimise: bool = True,
    reuse_memory: bool = True,
    exact_integers: bool = True,
) -> ort.InferenceSession:
    """An onnxruntime session on a file as it was read: inputs fixed, and only the nodes that the outputs need.

    Args:
        outputs: names of the outputs or inner values to compute.
        optimise, reuse_memory, exact_integers: see ``open_session``.

    Raises:
        UnsupportedTeacherError: onnxruntime cannot load it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    for name in set(outputs) - {value.name for value in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    keep_only(model, outputs)
    try:
        return open_session(
            model.SerializeToString(),
            folder=source.path.parent,
            optimise=optimise,
            reuse_memory=reuse_memory,
            exact_integers=exact_integers,
        )
    except Exception as error:
        raise UnsupportedTeacherError(f"{source.path}: onnxruntime cannot load it ({_reason(error)})") from error


@dataclass(frozen=True)
class _Values:
    """Values of the import that are compared with a value of the file.

    Attributes:
        what: how messages name them.
        values: computed by the import.
        index: of the file's value, among those that onnxruntime computes.
        steps: quantisation steps by which they may differ.
    """

    what: str
    values: torch.Tensor
    index: int
    steps: int


def check_parity(
    graphs: Graphs,
    source: OnnxFile,
    domain: Domain,
    output: Output,
    activations: int,
    scores_name: str | None,
    rng: torch.Generator,
) -> float:
    """Compare file output and scores with onnxruntime on random inputs, at two batch sizes.

    The scores are compared where the file names them, because a saturated softmax hides differences. The
    logits must also reproduce the file's output, in the way that a student's will.

    onnxruntime runs the file node by node, as it is written: its optimiser fuses quantised nodes into
    integer kernels that round at other places. Where a sum lies between two integers, the order of additions
    decides which it becomes, so one quantisation step is allowed. As many more steps are allowed as
    onnxruntime differs from itself with its optimiser, because steps add up in deep files. On x86 without
    VNNI only the optimised run sums integers exactly, so agreement with that run is enough.

    Args:
        activations: number of values that one sample takes on the way.
        scores_name: name of the scores in the file, or None.

    Returns:
        The largest relative difference.

    Raises:
        ParityError: a difference exceeds the tolerance.
        UnsupportedTeacherError: onnxruntime cannot run the file, or its values for a sample depend on the
            other samples of the batch.
    """
    path, name, model = source.path, output.name, source.model
    quantised = rounds_to_integers(model)
    is_named = any(scores_name in node.output for node in source.proto.graph.node)
    names = list(dict.fromkeys([name, scores_name] if is_named and scores_name is not None else [name]))
    # The optimiser would also compute values that no run needs, such as the constants of a branch that is never taken.
    session = open_onnx_file(source, names, optimise=False, reuse_memory=activations > UNSHARED)
    nodes = [next((v for v in model.graph.outputs if v.name == n), model.graph.outputs[0]) for n in names]
    tolerance = HALF_TOLERANCE.get(model.meta.get(ROUNDED_TO, ir.DataType.FLOAT), TOLERANCE)
    declared = session.get_inputs()[0].shape  # empty if the file leaves the rank open
    batch = declared[0] if declared else None
    sizes = (batch, 2 * batch) if isinstance(batch, int) else (2, 3)
    worst = 0.0
    noise: list[float] = []
    fused: ort.InferenceSession | None = None
    scales_batch = any(
        "DynamicQuantize" in node.op_type for node in model.graph
    )  # its scale is that of the whole batch
    for size in sizes:
        unit = torch.rand((size, *domain.shape), generator=rng)
        x = domain.to_array(domain.to_file(unit))
        references = _run_onnxruntime(session, x, names, path)
        if size == sizes[0] and not scales_batch:
            others = torch.cat([unit[:1], 1 - unit[1:]])
            changed = _run_onnxruntime(session, domain.to_array(domain.to_file(others)), names, path)
            _check_independence(names, references, changed, tolerance, path)
        try:
            imported = _run_import(graphs, output, torch.from_numpy(x), len(names), quantised=quantised)
        except RuntimeError as error:
            raise UnsupportedTeacherError(
                f"{path}: the graph does not run at batch size {size} ({_reason(error)}); export it with a free batch size"
            ) from error
        # Logits too large for float32 to hold them to the tolerance decide alone: their softmax consists of
        # rounding errors.
        coarse = np.spacing(np.float32(np.abs(references[-1]).max())) > tolerance
        for value in imported[2:] if coarse and len(names) > 1 else imported:
            reference, values = references[value.index], value.values.numpy()
            values = values.reshape(reference.shape) if values.size == reference.size else values
            gap = difference(values, reference)
            allowed = tolerance
            if quantised:
                allowed += value.steps * quantisation_step(nodes[value.index], reference) / _scale(reference)
            if quantised and gap > allowed:
                fused = fused or open_onnx_file(source, names)
                gap = min(gap, difference(values, run(fused, x, names)[value.index]))
                if gap > allowed:
                    noise = noise or _optimiser_noise(domain, session, fused, names, rng)
                    allowed += noise[value.index]
            if gap > allowed:
                raise ParityError(
                    f"{path}: {value.what.format(*names)} at batch size {size} differs from onnxruntime by {gap:.3g} "
                    f"(tolerance {allowed:g}); please report this model"
                )
            worst = max(worst, gap)
    return worst


def _check_independence(
    names: list[str], values: list[np.ndarray], changed: list[np.ndarray], tolerance: float, path: Path
) -> None:
    """Raise UnsupportedTeacherError if the values of the first sample differ between two batches, whose other samples do."""
    for name, a, b in zip(names, values, changed, strict=True):
        gap = difference(a[:1], b[:1])
        if gap > tolerance:
            raise UnsupportedTeacherError(
                f"{path}: '{name}' of a sample changes by {gap:.3g} with the other samples of its batch; expected a "
                "classifier that judges each sample alone. Export the model in inference mode, with no softmax, mean or "
                "variance over axis 0"
            )


def _run_onnxruntime(session: ort.InferenceSession, x: np.ndarray, names: list[str], path: Path) -> list[np.ndarray]:
    """The file's values, which must be finite."""
    try:
        references = run(session, x, names)
    except Exception as error:
        raise UnsupportedTeacherError(f"{path}: onnxruntime cannot run it ({_reason(error)})") from error
    if not all(np.isfinite(values).all() for values in references):
        raise UnsupportedTeacherError(
            f"{path}: onnxruntime gives NaN or infinity for inputs drawn from the input domain; give the right domain "
            "with --input-range, and check the constants of --fix"
        )
    return references


def _optimiser_noise(
    domain: Domain,
    plain: ort.InferenceSession,
    fused: ort.InferenceSession,
    names: list[str],
    rng: torch.Generator,
) -> list[float]:
    """How much onnxruntime's optimiser changes each value of a file."""
    x = domain.to_array(domain.to_file(torch.rand((NOISE_SAMPLES, *domain.shape), generator=rng)))
    return [difference(a, b) for a, b in zip(run(fused, x, names), run(plain, x, names), strict=True)]


@torch.no_grad()
def _run_import(graphs: Graphs, output: Output, x: torch.Tensor, count: int, *, quantised: bool) -> list[_Values]:
    """Values of the import to compare with the first ``count`` values of the file."""
    x = x if x.is_floating_point() else x.float()
    # A quantised softmax saturates below one and rounds in its own way, so its logits may be two steps away.
    steps = 2 if quantised else 1
    scores = graphs.run_scores(x)
    written = scores if graphs.file is graphs.fast_scores else graphs.run(graphs.file, x)
    values = [
        _Values("output '{0}'", written, 0, 1),
        _Values("output '{0}' from logits", output.from_logits(output.to_logits(scores)), 0, steps),
        _Values("'{1}'", scores, 1, 1),
    ]
    return values if count > 1 else values[:2]


def _scale(values: np.ndarray) -> float:
    """The magnitude that differences are relative to."""
    return max(1.0, float(np.abs(values).max()))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
