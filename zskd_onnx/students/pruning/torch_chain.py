"""The layers with weights of a torch module whose layers form a chain."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from zskd_onnx.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class ChainLayer:
    """A layer with weights.

    Attributes:
        name: of the module, as messages name it.
        kind: "convolution", "linear" or "batch_norm", as ``teacher.WeightedLayer`` has it.
        module: the layer itself.
        before: what stands between it and the layer with weights before, or the input.
    """

    name: str
    kind: str
    module: nn.Module
    before: tuple[fx.Node, ...]

    @property
    def adjoins(self) -> bool:
        """Whether nothing stands between it and the layer with weights before."""
        return not self.before


def chain(student: nn.Module) -> list[ChainLayer]:
    """The layers in the order in which a sample meets them; what has no weights is passed over.

    Raises:
        UsageError: a value is used twice, the forward pass depends on the values, or a layer has
            weights of another kind; the message is the reason.
    """
    training = student.training
    student.eval()  # as it is when it is used; a forward pass may look at the mode
    try:
        graph = fx.symbolic_trace(student).graph
    except Exception as error:
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise UsageError(f"the student's forward pass cannot be followed ({reason})") from error
    finally:
        student.train(training)
    layers: list[ChainLayer] = []
    between: list[fx.Node] = []
    for node in graph.nodes:
        if len(node.all_input_nodes) > 1 or len(node.users) > 1:
            where = node.target if node.op == "call_module" else node.name
            raise UsageError(f"the student is no plain chain of layers, it forks or joins at '{where}'")
        if node.op in ("placeholder", "output"):
            continue
        if node.op != "call_module":
            between.append(node)
            continue
        module = student.get_submodule(str(node.target))
        kind = _kind(module)
        if kind is not None:
            layers.append(ChainLayer(str(node.target), kind, module, tuple(between)))
            between = []
        elif next(module.parameters(), None) is not None:
            raise UsageError(f"the student's layer '{node.target}' is a {type(module).__name__}")
        else:
            between.append(node)
    return layers


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, CONVOLUTIONS):
        return "convolution"
    if isinstance(module, nn.Linear):
        return "linear"
    return "batch_norm" if isinstance(module, BATCH_NORMS) else None
