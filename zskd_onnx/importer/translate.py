"""Translate a cleaned ONNX graph into a ``torch.fx.GraphModule``."""

from __future__ import annotations

import operator as py
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from torch import Tensor, fx, nn

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.batch_normalization import BatchNormalization
from zskd_onnx.importer.file.source import ORIGIN
from zskd_onnx.importer.fx_graph import INITIALIZERS, VALUE, ImportedModel
from zskd_onnx.importer.nodes import attributes, describe, operator_of, read_input, tensor_of
from zskd_onnx.importer.operators.host import as_host, as_tensor, find_host_operator, to_device_of
from zskd_onnx.importer.operators.host_shape import stays_host
from zskd_onnx.importer.operators.registry import Operator
from zskd_onnx.importer.passes import fuse, unfold_weights
from zskd_onnx.importer.state_names import free_attribute, identifier, state_name
from zskd_onnx.importer.weights import Weights, find_weights

CONTROL_FLOW = {"If": "condition", "Loop": "trip count and condition"}
"""Control-flow operators, and the inputs that must be constant for ``clean`` to remove them."""

NO_GRADIENT = ("TreeEnsembleClassifier", "TreeEnsemble")
"""Classifiers that are piecewise constant, so that their gradient is zero everywhere."""


def import_graph(model: ir.Model, *, trainable: bool = False) -> ImportedModel:
    """Translate a model that ``passes.clean`` has prepared.

    Constants become buffers, so that they move with ``.to`` and take no gradient. They keep their
    element type. A node that computes an ONNX value has its name as ``meta["value"]``.

    In a trainable import, weights (see ``find_weights``) are parameters instead, and running statistics
    are buffers that BatchNormalization updates in training mode. Both have the names of the file's
    tensors in ``state_dict``, see ``ImportedModel.initializers``. Dropout stays an identity.

    Args:
        model: the cleaned model. Nodes for which torch has one function are fused in place.
        trainable: whether weights become parameters; ``read_onnx_file`` and ``clean`` with
            ``trainable=True`` must have made the model.

    Returns:
        A module whose forward takes the graph's inputs in order and returns a tuple of the graph's
        outputs in order.

    Raises:
        UnsupportedTeacherError: an operator is not supported (the message lists all of them), a shape
            depends on the data, or a trainable import has no floating-point weights.
    """
    _check_supported(model)
    fuse(model)
    weights = Weights((), {})
    if trainable:
        weights = find_weights(model, _required_nodes(model))
        unfold_weights(model, weights.all())
    module = _Importer(model, weights).run()
    module.meta[ORIGIN] = model.meta.get(ORIGIN)
    return module


def is_supported(model: ir.Model, output: ir.Value) -> bool:
    """Whether all operators that an output of a cleaned model depends on are supported."""
    return all(operator_of(node, model.opset_imports) is not None for node in _required_nodes(model, [output]))


def _required_nodes(model: ir.Model, outputs: Sequence[ir.Value] | None = None) -> list[ir.Node]:
    """The nodes that some outputs, by default all of the model's, depend on, in graph order."""
    required: set[ir.Node] = set()
    pending = [value.producer() for value in (model.graph.outputs if outputs is None else outputs)]
    while pending:
        node = pending.pop()
        if node is not None and node not in required:
            required.add(node)
            pending += [value.producer() for value in node.inputs if value is not None]
    return [node for node in model.graph if node in required]


def _check_supported(model: ir.Model) -> None:
    opsets = model.opset_imports
    unsupported = [node for node in _required_nodes(model) if operator_of(node, opsets) is None]
    if not unsupported:
        return
    first = unsupported[0]
    if first.domain == "" and first.op_type in CONTROL_FLOW:
        raise UnsupportedTeacherError(
            f"{describe(first)}: its {CONTROL_FLOW[first.op_type]} must be constant, but depends on the data; "
            "export the model without control flow"
        )
    if first.op_type in NO_GRADIENT:
        raise UnsupportedTeacherError(
            f"{describe(first)}: a tree ensemble has no gradient; expected a neural network or a linear model"
        )
    names = [f"{n.domain + '.' if n.domain else ''}{n.op_type}" for n in unsupported]
    others = sorted(set(names) - {names[0]})
    raise UnsupportedTeacherError(
        f"{describe(first)}: operator {first.op_type} of opset {opsets.get(first.domain, '?')} is not supported; "
        f"other unsupported operators in this file: {', '.join(others) or 'none'}"
    )


class _Importer:
    """Builds the module node by node.

    Attributes:
        tensors: ONNX values that are tensors at run time.
        hosts: ONNX values that are Python numbers at run time (see ``operators.host``).
    """

    def __init__(self, model: ir.Model, weights: Weights) -> None:
        self.model = model
        self.statistics = weights.statistics
        self.root = ImportedModel(nn.Module(), fx.Graph())
        self.graph = fx.Graph()
        self.tensors: dict[ir.Value, fx.Node] = {}
        self.hosts: dict[ir.Value, fx.Node] = {}
        self.targets: dict[ir.Value, str] = {}
        parameters = set(weights.parameters)
        for value in weights.all():  # before other constants, which give way where names clash
            tensor = tensor_of(value)
            trained = nn.Parameter(tensor) if value in parameters else tensor
            self.targets[value] = state_name(self.root, value.name or "", trained)
        self.root.meta[INITIALIZERS] = {target: value.name for value, target in self.targets.items()}

    def run(self) -> ImportedModel:
        for value in self.model.graph.inputs:
            self.tensors[value] = self.graph.placeholder(identifier(value.name))
            self.tensors[value].meta[VALUE] = value.name
        for node in _required_nodes(self.model):
            self.import_node(node)
        self.graph.output(tuple(self.tensor(value) for value in self.model.graph.outputs))
        self.graph.lint()
        return ImportedModel(self.root, self.graph)

    def import_node(self, node: ir.Node) -> None:
        host_function = find_host_operator(node.domain, node.op_type)
        if host_function is not None and self.is_host(node):
            inputs = [None if v is None else self.host(v, node) for v in node.inputs]
            self.hosts[node.outputs[0]] = self.call(node, host_function, inputs, _host_attributes(node))
            return
        operator = operator_of(node, self.model.opset_imports)
        assert operator is not None  # _check_supported has run
        if node in self.statistics:
            self.tensors[node.outputs[0]] = self.normalisation(node)
            return
        call = self.call(node, operator.function, self.inputs(node, operator), _attributes(node, operator))
        if self.tensors and all(i in operator.host_inputs for i in range(len(node.inputs))):
            # All inputs are Python numbers, so no tensor input determines the device.
            call = self.graph.call_function(to_device_of, (call, next(iter(self.tensors.values()))))
        if operator.returns_host:
            self.hosts[node.outputs[0]] = call
        elif len(node.outputs) == 1:
            self.tensors[node.outputs[0]] = call
        else:
            del call.meta[VALUE]
            for i, value in enumerate(node.outputs):
                self.tensors[value] = self.graph.call_function(py.getitem, (call, i))
                self.tensors[value].meta[VALUE] = value.name

    def normalisation(self, node: ir.Node) -> fx.Node:
        """A BatchNormalization whose running statistics are updated in training."""
        x, scale, bias = (self.tensor(read_input(node, i)) for i in range(3))
        mean, variance = (self.tensor(value) for value in self.statistics[node])
        keywords = {key: value for key, value in _attributes(node).items() if key in ("epsilon", "momentum")}
        target = free_attribute(self.root, f"{identifier(node.outputs[0].name)}_normalisation")
        self.root.add_module(target, BatchNormalization(**keywords))
        name = identifier(node.outputs[0].name)
        call = self.graph.create_node("call_module", target, (x, scale, bias, mean, variance), {}, name)
        call.meta.update({"onnx": describe(node), VALUE: node.outputs[0].name})
        return call

    def is_host(self, node: ir.Node) -> bool:
        """Whether a node computes on shapes: one input is a host value, the others are constants."""
        inputs = [v for v in node.inputs if v is not None]
        all_host = any(v in self.hosts for v in inputs) and all(
            v in self.hosts or (v.const_value is not None and len(v.const_value.shape) <= 1 and v not in self.targets)
            for v in inputs
        )
        return all_host and stays_host(node, self.hosts)

    def inputs(self, node: ir.Node, operator: Operator) -> list[Any]:
        return [
            None if v is None else self.host(v, node) if i in operator.host_inputs else self.tensor(v)
            for i, v in enumerate(node.inputs)
        ]

    def call(self, node: ir.Node, function: Any, inputs: list[Any], keywords: dict[str, Any]) -> fx.Node:
        for key, value in keywords.items():
            if isinstance(value, Tensor):
                keywords[key] = self.buffer(f"{node.name}_{key}", value)
        name = identifier(node.outputs[0].name)
        call = self.graph.create_node("call_function", function, tuple(inputs), keywords, name)
        call.meta.update({"onnx": describe(node), VALUE: node.outputs[0].name})
        return call

    def host(self, value: ir.Value, node: ir.Node) -> Any:
        """A value as Python numbers; ``node`` reads it."""
        if value in self.hosts:
            return self.hosts[value]
        if value.const_value is None:
            raise UnsupportedTeacherError(
                f"{describe(node)}: its input '{value.name}' must be a constant or follow from shapes, "
                "but is computed from the data; export the model with static shapes"
            )
        try:
            return as_host(tensor_of(value))
        except (ValueError, NotImplementedError) as error:
            raise UnsupportedTeacherError(f"{describe(node)}: its input '{value.name}' has {error}") from error

    def tensor(self, value: ir.Value) -> fx.Node:
        """A value as a tensor."""
        if value in self.tensors:
            return self.tensors[value]
        if value in self.targets:
            tensor = self.graph.get_attr(self.targets[value])
        elif value in self.hosts:
            like = next(iter(self.tensors.values()), None)
            tensor = self.graph.call_function(as_tensor, (self.hosts[value], like))
        elif value.const_value is None:
            raise UnsupportedTeacherError(
                f"value '{value.name}' is neither computed nor constant; the file is damaged, export it again"
            )
        else:
            try:
                tensor = self.buffer(value.name, tensor_of(value))
            except NotImplementedError as error:
                raise UnsupportedTeacherError(f"constant '{value.name}': {error} is not supported") from error
        tensor.meta[VALUE] = value.name
        self.tensors[value] = tensor
        return tensor

    def buffer(self, name: str | None, tensor: Tensor) -> fx.Node:
        target = free_attribute(self.root, identifier(name))
        self.root.register_buffer(target, tensor)
        return self.graph.get_attr(target)


def _attributes(node: ir.Node, operator: Operator | None = None) -> dict[str, Any]:
    try:
        return attributes(node, operator)
    except NotImplementedError as error:
        raise UnsupportedTeacherError(f"{describe(node)}: {error} is not supported") from error


def _host_attributes(node: ir.Node) -> dict[str, Any]:
    return {k: as_host(v) if isinstance(v, Tensor) else v for k, v in _attributes(node).items()}
