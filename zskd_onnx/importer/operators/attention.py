"""Attention and rotary position embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.importer.operators.registry import given, operator


def _heads(x: Tensor, heads: int | None) -> Tensor:
    """(N, L, heads * E) as (N, heads, L, E)."""
    if x.ndim == 4:
        return x
    if not heads:
        raise ValueError("three-dimensional inputs need q_num_heads and kv_num_heads")
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _position_bias(
    scores: Tensor, offset: int | Tensor, is_causal: int, left_window_size: int, right_window_size: int
) -> Tensor | None:
    """Minus infinity where a key lies outside what a query may see, (L, S) or (N, 1, L, S).

    Args:
        offset: how many keys precede the first query, one number or one a sample.
    """
    if not is_causal and left_window_size < 0 and right_window_size < 0:
        return None
    query = torch.arange(scores.shape[-2], device=scores.device).unsqueeze(1)
    key = torch.arange(scores.shape[-1], device=scores.device)
    if isinstance(offset, Tensor):
        offset = offset.reshape(-1, 1, 1, 1)
    behind = query + offset - key
    allowed = torch.ones_like(behind, dtype=torch.bool)
    if is_causal:
        allowed = allowed & (behind >= 0)
    if left_window_size >= 0:
        allowed = allowed & (behind <= left_window_size)
    if right_window_size >= 0:
        allowed = allowed & (-behind <= right_window_size)
    return _as_bias(allowed, scores)


def _as_bias(allowed: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(allowed, dtype=like.dtype).masked_fill(~allowed, -math.inf)


@operator("Attention", (23, 24, 25), counts_outputs=True)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    valid_keys: Tensor | None = None,
    *,
    num_outputs: int,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """Scaled dot-product attention.

    q (N, Hq, L, E), k (N, Hkv, S, E), v (N, Hkv, S, Ev), or with the heads inside the last axis of
    three. ``valid_keys`` (version 24 on) counts each sample's keys that are no padding; windows
    came with version 25.

    Returns:
        Y in the layout of q, the keys and values with the past ones, and the scores at the stage
        ``qk_matmul_output_mode`` names (0 raw, 1 after the soft cap, 2 after the mask, 3 softmax).
    """
    flat = q.ndim == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    present = k, v
    if (groups := q.shape[1] // k.shape[1]) > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)

    # The factor has the type of q, which matters in half precision.
    root = torch.tensor(math.sqrt(scale if scale else 1 / math.sqrt(q.shape[-1])), dtype=q.dtype, device=q.device)
    raw = torch.matmul(q * root, (k * root).transpose(-1, -2))
    capped = softcap * torch.tanh(raw / softcap) if softcap else raw

    offset: int | Tensor = 0
    if past_key is not None:
        offset = past_key.shape[2]
    elif valid_keys is not None:
        offset = valid_keys - q.shape[2]
    biases = [_position_bias(raw, offset, is_causal, left_window_size, right_window_size)]
    if mask is not None:
        bias = _as_bias(mask, raw) if mask.dtype == torch.bool else mask
        missing = k.shape[2] - mask.shape[-1]
        biases.append(torch.nn.functional.pad(bias, (0, missing), value=-math.inf) if missing > 0 else bias)
    if valid_keys is not None:
        real = torch.arange(k.shape[2], device=k.device) < valid_keys.reshape(-1, 1, 1, 1)
        biases.append(_as_bias(real, raw))

    masked = capped
    blind: Tensor | None = None
    given_biases = [b for b in biases if b is not None]
    if given_biases:
        total = sum(given_biases[1:], start=given_biases[0])
        masked = capped + total
        blind = torch.isneginf(total.amax(-1, keepdim=True))
    logits = masked if blind is None else masked.masked_fill(blind, 0.0)
    precision = q.dtype if softmax_precision is None else TORCH_DTYPE[softmax_precision]
    weights = torch.softmax(logits.to(precision), -1).to(q.dtype)
    if blind is not None:  # a query that may see no key attends to nothing
        weights = weights.masked_fill(blind, 0.0)
    y = torch.matmul(weights, v)
    y = y.transpose(1, 2).flatten(2) if flat else y
    stages = (raw, capped, masked, weights)
    return given((y, *present, stages[qk_matmul_output_mode]), num_outputs)


@operator("RotaryEmbedding", (23,))
def rotary_embedding(
    x: Tensor,
    cosine: Tensor,
    sine: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Rotate pairs of features by their position's angle.

    x (N, heads, L, E) or (N, L, heads * E); cosine and sine (N, L, R / 2), or (positions, R / 2)
    to be looked up. A pair is two neighbours (``interleaved``) or an entry of each half of the
    first R features.
    """
    if positions is not None:
        cosine, sine = cosine[positions], sine[positions]
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    heads = _heads(x, num_heads)
    width = rotary_embedding_dim or heads.shape[-1]
    turning, rest = heads[..., :width], heads[..., width:]
    first, second = (turning[..., 0::2], turning[..., 1::2]) if interleaved else turning.chunk(2, -1)
    turned = (cosine * first - sine * second, sine * first + cosine * second)
    rotated = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
    y = torch.cat([rotated, rest], -1)
    return y if x.ndim == 4 else y.transpose(1, 2).flatten(2)
