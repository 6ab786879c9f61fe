"""The work of choosing the teacher's channels for a student, which grows with the square of the layers' inputs."""

from __future__ import annotations

from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.students.pruning.optimal_brain_surgeon import products_work, removal_work
from zskd_onnx.students.thinning.weighted_readers import read_weights, weighted_readers
from zskd_onnx.teacher.probes.onnx_chain import chain_layers


def channel_work(plan: Plan) -> float:
    """Multiply-adds in double precision with which a run chooses channels and re-fits weights; 0 if it prunes nothing."""
    return sum(products_work(inputs) + removal_work(inputs) for inputs in _layer_inputs(plan))


def _layer_inputs(plan: Plan) -> list[int]:
    """The number of inputs of each output of the layers that may be re-fitted."""
    if not plan.pruned:
        return []
    if plan.choice.thinned is None:
        return [layer.weight[0].numel() for layer in chain_layers(plan.teacher) or () if layer.kind != "batch_norm"]
    groups = plan.choice.thinned.groups
    weights = read_weights(groups.graph.proto)
    return [reader.matrix(weights[reader.weight]).shape[1] for reader in weighted_readers(groups, weights)]
