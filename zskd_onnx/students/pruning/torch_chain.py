"""The layers with weights of a torch module that is a chain of layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from zskd_onnx.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class TorchLayer:
    """A layer with weights.

    Attributes:
        name: name of the module within the student, for messages.
        kind: "convolution", "linear" or "batch_norm", as in ``OnnxLayer``.
        module: the layer itself.
        preceding: the operations between the previous layer with weights, or the input, and this layer.
    """

    name: str
    kind: str
    module: nn.Module
    preceding: tuple[fx.Node, ...]

    @property
    def follows_directly(self) -> bool:
        """Whether the layer reads the output of the previous layer with weights, without an operation between."""
        return not self.preceding


def student_layers(student: nn.Module) -> list[TorchLayer]:
    """The layers with weights in the order of the forward pass.

    Raises:
        UsageError: the student is not a chain (a value is used twice, or the forward pass depends on
            values), or a layer with weights is of another kind. The message is the reason.
    """
    training = student.training
    student.eval()  # a forward pass may depend on the mode
    try:
        graph = fx.symbolic_trace(student).graph
    except Exception as error:
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise UsageError(f"torch.fx cannot trace the student's forward pass ({reason})") from error
    finally:
        student.train(training)
    layers: list[TorchLayer] = []
    preceding: list[fx.Node] = []
    for node in graph.nodes:
        if len(node.all_input_nodes) > 1 or len(node.users) > 1:
            where = node.target if node.op == "call_module" else node.name
            raise UsageError(f"the student is not a plain chain of layers: it branches or joins at '{where}'")
        if node.op in ("placeholder", "output"):
            continue
        if node.op != "call_module":
            preceding.append(node)
            continue
        module = student.get_submodule(str(node.target))
        kind = _kind(module)
        if kind is not None:
            layers.append(TorchLayer(str(node.target), kind, module, tuple(preceding)))
            preceding = []
        elif next(module.parameters(), None) is not None:
            raise UsageError(
                f"the student's layer '{node.target}' is a {type(module).__name__}; expected a convolution, "
                "a fully connected layer or a batch normalisation"
            )
        else:
            preceding.append(node)
    return layers


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, CONVOLUTIONS):
        return "convolution"
    if isinstance(module, nn.Linear):
        return "linear"
    return "batch_norm" if isinstance(module, BATCH_NORMS) else None
