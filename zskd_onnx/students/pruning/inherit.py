"""A student that starts from the teacher's channels.

Both are chains of the same layers, the student's narrower. Each hidden layer keeps the channels that the next one misses
least, and the next one's weights make up for the others (``eliminate``). Equal widths are copied: a student of the
teacher's own shape is the teacher (but for the border, see ``unit_space_layers``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.pruning.compare_interlayer import check_between
from zskd_onnx.students.pruning.fold_input_scaling import unit_space_layers
from zskd_onnx.students.pruning.layer_inputs import patches
from zskd_onnx.students.pruning.optimal_brain_surgeon import eliminate, mean_products
from zskd_onnx.students.pruning.recalibrate import recalibrate
from zskd_onnx.students.pruning.torch_chain import ChainLayer, chain
from zskd_onnx.teacher.probes.onnx_chain import WeightedLayer, weighted_layers
from zskd_onnx.teacher.probes.probe import inputs_probe
from zskd_onnx.teacher.teacher import Teacher

PART = 256
MEMORY = 2**30
"""Bytes that the teacher's values for a part of the samples may take."""

ROWS = 20_000
"""Least rows of inputs that a layer's mean products are taken from."""

Assignments = list[tuple[Tensor, Tensor]]
"""What is to be overwritten, and by what."""


def inherits(student: nn.Module, teacher: Teacher) -> str | None:
    """Why a student cannot inherit from a teacher; None where it can."""
    try:
        _matched(student, teacher)
    except UsageError as reason:
        return str(reason)
    return None


def deviates(student: nn.Module, teacher: Teacher) -> str | None:
    """What a student that can inherit does otherwise than its teacher between layers with weights; None where nothing.

    Such a student starts as another function: a LeNet-5-Half of ReLU and maxima, from a teacher of tanh and means, has 97.19 %
    of MNIST after the training that gives a fresh one 98.11.
    """
    layers = {layer.node: layer for layer in weighted_layers(teacher) or ()}
    pairs = _matched(student, teacher)
    try:
        check_between(student, teacher, [(p.mine, None if p.given is None else layers[p.given.node]) for p in pairs])
    except UsageError as reason:
        return str(reason)
    return None


def inherit(student: nn.Module, teacher: Teacher, samples: Tensor, generator: torch.Generator) -> None:
    """Overwrite a student's weights with the teacher's, less the channels that it has no room for.

    Where a layer has n channels and the teacher's N, the N - n that the next layer misses least go, judged by what that
    layer reads of the samples. Batch normalisations then get the statistics that they meet.

    Args:
        samples: (N, *shape) in the unit space, such as the student will be trained on.
        generator: picks the positions that convolutions are judged at; on the CPU.

    Raises:
        UsageError: the student has not the teacher's topology, or is wider; the message names the layer.
    """
    try:
        pairs = _matched(student, teacher)
    except UsageError as reason:
        raise UsageError(f"the student cannot inherit from the teacher: {reason}; start it fresh") from reason
    parts = samples.split(max(1, min(PART, MEMORY // (4 * teacher.cost.activations))))
    with torch.no_grad():
        for mine, inherited in _assignments(_narrowed(pairs, teacher, parts, generator)):
            mine.copy_(inherited)
    recalibrate(student, parts)


@dataclass
class _Pair:
    """A layer of the student and the teacher's in its place.

    Attributes:
        mine: the student's.
        given: the teacher's; None where the student alone has a batch normalisation.
        width: how many channels come from ``mine``.
        run: how many values each channel of the layer before has here: positions, where these have been flattened.
        takes_bias: whether ``mine`` has a bias, or a batch normalisation follows at once that can take one in.
    """

    mine: ChainLayer
    given: WeightedLayer | None
    width: int
    run: int
    takes_bias: bool

    @property
    def layer(self) -> WeightedLayer:
        """The teacher's, of a layer that is no batch normalisation."""
        assert self.given is not None
        return self.given

    def keeping(self, kept: Tensor) -> _Pair:
        """With some of the channels that the teacher's layer gives."""
        if self.given is None:
            return self
        places = kept
        if self.mine.kind == "batch_norm":
            places = (kept[:, None] * self.run + torch.arange(self.run, device=kept.device)).flatten()
        layer = self.given
        weight, bias, mean, variance = (
            None if part is None else part[places] for part in (layer.weight, layer.bias, layer.mean, layer.variance)
        )
        assert weight is not None
        return replace(self, given=replace(layer, weight=weight, bias=bias, mean=mean, variance=variance))


def _matched(student: nn.Module, teacher: Teacher) -> list[_Pair]:
    """Walk both chains side by side.

    Raises:
        UsageError: the message is the reason why the student cannot inherit.
    """
    ours, theirs = chain(student), _giving_logits(unit_space_layers(teacher), teacher)
    entry = theirs[0].weight
    channels = width = entry.shape[1] if entry.ndim > 1 else len(entry)
    found: list[_Pair] = []
    for mine, following in zip(ours, [*ours[1:], None], strict=True):
        given = theirs[0] if theirs else None
        if mine.kind == "batch_norm":
            given = theirs.pop(0) if given is not None and given.kind == "batch_norm" else None
            run = 1 if given is None else len(given.weight) // channels
            _check_batch_norm(mine, given, width * run)
            found.append(_Pair(mine, given, width, run, takes_bias=True))
            continue
        if given is None or given.kind != mine.kind:
            expected = "nothing more" if given is None else f"{given.node} ({given.kind})"
            raise UsageError(f"where the student has layer '{mine.name}' ({mine.kind}), the teacher has {expected}")
        del theirs[0]
        bias_follows = following is not None and following.kind == "batch_norm" and following.adjoins
        module: Any = mine.module
        takes_bias = bias_follows or module.bias is not None
        run = given.weight.shape[1] // channels
        last = all(layer.kind == "batch_norm" for layer in theirs)
        _check_weighted(mine, given, width * run, last=last, takes_bias=takes_bias)
        channels, width = len(given.weight), len(module.weight)
        found.append(_Pair(mine, given, width, run, takes_bias))
    if theirs:
        raise UsageError(f"the teacher's {theirs[0].node} ({theirs[0].kind}) has no counterpart in the student")
    return found


def _giving_logits(layers: list[WeightedLayer], teacher: Teacher) -> list[WeightedLayer]:
    """With a last layer of one row for each class, where the file's has one row for two classes."""
    last = layers[-1]
    if teacher.output.mix is None or last.kind == "batch_norm":
        return layers
    weight = teacher.output.to_logits(last.weight.movedim(0, -1)).movedim(-1, 0)
    bias = None if last.bias is None else teacher.output.to_logits(last.bias)
    return [*layers[:-1], replace(last, weight=weight, bias=bias)]


def _check_batch_norm(mine: ChainLayer, given: WeightedLayer | None, inputs: int) -> None:
    module: Any = mine.module
    if module.weight is None or module.running_mean is None:
        raise UsageError(f"the student's layer '{mine.name}' has no weights or no statistics")
    if given is not None and inputs != len(module.weight):
        raise UsageError(
            f"the student's layer '{mine.name}' has {len(module.weight)} channels, {inputs} come from the "
            f"teacher's {given.node}"
        )


def _check_weighted(mine: ChainLayer, given: WeightedLayer, inputs: int, *, last: bool, takes_bias: bool) -> None:
    module: Any = mine.module
    where = f"the student's layer '{mine.name}'"
    if given.kind == "convolution":
        _check_geometry(where, module, given)
    units, own_inputs = module.weight.shape[:2]
    if own_inputs != inputs:
        raise UsageError(f"{where} has {own_inputs} inputs, {inputs} come from the teacher's {given.node}")
    channels = len(given.weight)
    if units > channels or (last and units != channels):
        raise UsageError(f"{where} gives {units} channels, the teacher's {given.node} {channels}")
    if given.bias is not None and not takes_bias:
        raise UsageError(f"{where} has no bias, the teacher's {given.node} has one")


def _check_geometry(where: str, module: Any, given: WeightedLayer) -> None:
    expected = _geometry(given)
    for what, own in _geometry(module).items():
        if own != expected[what]:
            raise UsageError(f"{where} has {what} {own}, the teacher's {given.node} has {expected[what]}")
    if given.groups != 1:
        raise UsageError(f"the teacher's {given.node} has {given.groups} groups, expected 1")


def _geometry(layer: Any) -> dict[str, Any]:
    """How a convolution moves, torch's or the teacher's."""
    kernel = tuple(layer.weight.shape[2:])
    padding = layer.padding
    if isinstance(padding, str):
        same = padding == "same"
        padding = tuple(d * (k - 1) // 2 if same else 0 for k, d in zip(kernel, layer.dilation, strict=True))
    return {
        **{"kernel": kernel, "stride": layer.stride, "padding": padding},
        **{"dilation": layer.dilation, "groups": layer.groups},
    }


def _narrowed(pairs: list[_Pair], teacher: Teacher, parts: Sequence[Tensor], generator: torch.Generator) -> list[_Pair]:
    """The pairs with the teacher's layers cut to the student's widths."""
    pairs = list(pairs)
    weighted = [i for i, pair in enumerate(pairs) if pair.mine.kind != "batch_norm"]
    narrow = [(i, j) for i, j in pairwise(weighted) if pairs[i].width < len(pairs[i].layer.weight)]
    products = _products([pairs[j].layer for _, j in narrow], teacher, parts, generator)
    for (i, j), known in zip(narrow, products, strict=True):
        following = pairs[j].layer
        groups = following.weight.reshape(len(following.weight), len(pairs[i].layer.weight), -1)
        kept, weight, growth = eliminate(known, groups, pairs[i].width, constant=pairs[j].takes_bias)
        for k in range(i, j):
            pairs[k] = pairs[k].keeping(kept)
        shape = (len(weight), len(kept) * pairs[j].run, *following.weight.shape[2:])
        bias = following.bias
        if pairs[j].takes_bias:
            bias = growth if bias is None else bias + growth
        pairs[j] = replace(pairs[j], given=replace(following, weight=weight.reshape(shape), bias=bias))
    return pairs


def _products(
    layers: list[WeightedLayer], teacher: Teacher, parts: Sequence[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """What ``eliminate`` knows of the inputs of each of these layers of the teacher."""
    if not layers:
        return []
    probe = inputs_probe(teacher, layers)
    place = next(teacher.buffers()).device
    samples = sum(map(len, parts))
    found: list[Tensor] = []
    for part in parts:
        _, values = probe(teacher.domain.to_file(part.to(place, torch.float32)))
        each = []
        for value, layer in zip(values, layers, strict=True):
            positions = math.ceil(max(ROWS, 4 * layer.weight[0].numel()) / samples)
            each.append(mean_products(patches(value, layer, positions, generator)) * (len(part) / samples))
        found = [before + new for before, new in zip(found, each, strict=True)] if found else each
    return found


def _assignments(pairs: list[_Pair]) -> Assignments:
    found: Assignments = []
    carried: Tensor | float = 0.0  # a bias for the batch normalisation that follows
    for pair in pairs:
        module: Any = pair.mine.module
        if pair.mine.kind == "batch_norm":
            found += _batch_norm(module, pair.given, carried)
            carried = 0.0
            continue
        weight, bias = pair.layer.weight, pair.layer.bias
        if bias is None:
            bias = weight.new_zeros(len(weight))
        found.append((module.weight, weight))
        carried = bias
        if module.bias is not None:
            found.append((module.bias, bias))
            carried = 0.0
    return found


def _batch_norm(module: Any, given: WeightedLayer | None, bias: Tensor | float) -> Assignments:
    """A batch normalisation, with a bias that the layer before has not; without the teacher's, one that adds it alone."""
    if given is None:
        one = torch.ones_like(module.weight)
        return [
            *((module.weight, one * math.sqrt(1 + module.eps)), (module.bias, one * bias)),
            *((module.running_mean, 0 * one), (module.running_var, one)),
        ]
    assert given.bias is not None
    assert given.mean is not None
    assert given.variance is not None
    variance = (given.variance + given.epsilon - module.eps).clamp_min(0)
    return [
        *((module.weight, given.weight), (module.bias, given.bias)),
        *((module.running_mean, given.mean - bias), (module.running_var, variance)),
    ]
