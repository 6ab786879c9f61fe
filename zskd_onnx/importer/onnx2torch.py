"""Import a model with the onnx2torch package instead, for users who registered converters there."""

from __future__ import annotations

import onnx_ir as ir
from torch import fx

from zskd_onnx.errors import MissingExtraError, UnsupportedTeacherError


def import_with_onnx2torch(model: ir.Model) -> fx.GraphModule:
    """Translate a model that ``passes.clean`` has prepared, like ``translate.import_graph``.

    Args:
        model: the cleaned model.

    Returns:
        A module whose forward takes the graph's inputs in order.

    Raises:
        MissingExtraError: onnx2torch, or the torchvision that it needs, cannot be imported.
        UnsupportedTeacherError: onnx2torch has no converter for a node.
    """
    try:
        import onnx2torch
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            "--importer onnx2torch needs onnx2torch and a torchvision built for the installed torch "
            f"({' '.join(str(error).split())[:160]}); install 'zskd-onnx[onnx2torch]' in an environment whose torch and "
            "torchvision match, or leave the option out"
        ) from error
    try:
        return onnx2torch.convert(ir.to_proto(model))
    except NotImplementedError as error:
        raise UnsupportedTeacherError(f"onnx2torch: {' '.join(str(error).split())[:300]}") from error
