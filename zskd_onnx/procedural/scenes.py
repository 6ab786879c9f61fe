"""Scenes: an object on a ground of dead leaves or of one texture, as a photograph shows a thing and what is behind it.

They are not from a paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import coloured, dead_leaves, textures
from zskd_onnx.procedural.objects import draw_objects


def scenes(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1] of one object each; half of the grounds are dead leaves, half one texture.

    Args:
        like: a tensor with the shape and the device of the result.
        rng: random generator on the same device.
    """
    halves = zip((dead_leaves, _one_texture), like.tensor_split(2), strict=True)
    grounds = [draw(half, rng) for draw, half in halves if len(half)]
    return draw_objects(torch.cat(grounds), rng)


def _one_texture(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1] of one surface each."""
    surface = torch.zeros((len(like), *like.shape[2:]), dtype=torch.int64, device=like.device)
    return coloured(surface, textures(like, rng), rng)
