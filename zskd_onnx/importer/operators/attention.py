"""Scaled dot-product attention and rotary position embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.importer.operators.registry import first_outputs, operator


def _heads(x: Tensor, heads: int | None) -> Tensor:
    """Reshape (N, L, heads * E) to (N, heads, L, E)."""
    if x.ndim == 4:
        return x
    if not heads:
        raise ValueError("inputs with three axes need the number of heads (q_num_heads and kv_num_heads, or num_heads)")
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _position_bias(
    scores: Tensor, offset: int | Tensor, is_causal: int, left_window_size: int, right_window_size: int
) -> Tensor | None:
    """A bias of minus infinity where a query must not see a key, (L, S) or (N, 1, L, S), or None.

    Args:
        scores: (N, heads, L, S), for its shape, device and type.
        offset: how many keys precede the first query: one number, or one for each sample.
        is_causal: whether a query sees only keys up to its own position.
        left_window_size: how many earlier keys a query sees; negative for all.
        right_window_size: how many later keys a query sees; negative for all.
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
    """0 where ``allowed``, minus infinity elsewhere."""
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
    """Scaled dot-product attention (Vaswani et al. 2017).

    Args:
        q: (N, Hq, L, E), or (N, L, Hq * E).
        k: (N, Hkv, S, E), or (N, S, Hkv * E).
        v: (N, Hkv, S, Ev), or (N, S, Hkv * Ev).
        mask: added to the scores, or boolean with True where attention is allowed; it broadcasts.
        past_key: keys (N, Hkv, P, E) that precede ``k``.
        past_value: values (N, Hkv, P, Ev) that precede ``v``.
        valid_keys: (N,), the number of each sample's keys that are not padding (from version 24 on).
        num_outputs: how many of the results to return.
        is_causal: whether a query sees only keys up to its own position.
        kv_num_heads: Hkv, needed for inputs with three axes.
        left_window_size: how many earlier keys a query sees; negative for all (from version 25 on).
        q_num_heads: Hq, needed for inputs with three axes.
        qk_matmul_output_mode: stage of the scores to return: 0 raw, 1 after the soft cap, 2 after the
            mask, 3 after the softmax.
        right_window_size: how many later keys a query sees; negative for all (from version 25 on).
        scale: factor of the scores; default 1 / sqrt(E).
        softcap: c in c tanh(scores / c); 0 for none.
        softmax_precision: element type of the softmax, as ONNX numbers it; default q's.

    Returns:
        Y in the layout of q, the keys and the values with the past ones, and the scores.
    """
    flat = q.ndim == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    present = k, v
    if (groups := q.shape[1] // k.shape[1]) > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)

    # The factor is rounded to the type of q, as the standard does in half precision.
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
        not_padding = torch.arange(k.shape[2], device=k.device) < valid_keys.reshape(-1, 1, 1, 1)
        biases.append(_as_bias(not_padding, raw))

    masked = capped
    blind: Tensor | None = None
    used_biases = [b for b in biases if b is not None]
    if used_biases:
        total = sum(used_biases[1:], start=used_biases[0])
        masked = capped + total
        blind = torch.isneginf(total.amax(-1, keepdim=True))
    logits = masked if blind is None else masked.masked_fill(blind, 0.0)
    precision = q.dtype if softmax_precision is None else TORCH_DTYPE[softmax_precision]
    weights = torch.softmax(logits.to(precision), -1).to(q.dtype)
    if blind is not None:  # a query that sees no key gets weights of zero
        weights = weights.masked_fill(blind, 0.0)
    y = torch.matmul(weights, v)
    y = y.transpose(1, 2).flatten(2) if flat else y
    stages = (raw, capped, masked, weights)
    return first_outputs((y, *present, stages[qk_matmul_output_mode]), num_outputs)


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
    """Rotate pairs of features by the angle of their position (Su et al. 2021).

    Args:
        x: (N, heads, L, E), or (N, L, heads * E).
        cosine: (N, L, R / 2), or (P, R / 2) with ``positions``.
        sine: like ``cosine``.
        positions: (N, L), rows of ``cosine`` and ``sine``.
        interleaved: whether a pair is two neighbours; else one of each half of the R features.
        num_heads: heads, needed for an input with three axes.
        rotary_embedding_dim: R, the number of features that are rotated; default E.

    Returns:
        The rotated tensor, in the layout of ``x``.
    """
    if positions is not None:
        cosine, sine = cosine[positions], sine[positions]
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    heads = _heads(x, num_heads)
    width = rotary_embedding_dim or heads.shape[-1]
    features, rest = heads[..., :width], heads[..., width:]
    first, second = (features[..., 0::2], features[..., 1::2]) if interleaved else features.chunk(2, -1)
    pairs = (cosine * first - sine * second, sine * first + cosine * second)
    rotated = torch.stack(pairs, -1).flatten(-2) if interleaved else torch.cat(pairs, -1)
    y = torch.cat([rotated, rest], -1)
    return y if x.ndim == 4 else y.transpose(1, 2).flatten(2)
