"""Recurrent layers, unrolled over time: RNN, GRU and LSTM.

Shapes, for T steps, a batch of N, I inputs, H hidden units, D directions and G gates:
x (T, N, I), w (D, G H, I), r (D, G H, H), b (D, 2 G H), states (D, N, H), y (T, D, N, H).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zskd_onnx.importer.operators.recurrent_activation import Activation, activations_of
from zskd_onnx.importer.operators.registry import first_outputs, operator

STEP_LIMIT = 4096
"""Largest number of steps of a sequence; each becomes operators of its own."""

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


@dataclass(frozen=True)
class _Direction:
    """The weights of one direction."""

    w: Tensor
    r: Tensor
    wb: Tensor
    rb: Tensor
    functions: Sequence[Activation]


def _run(
    cell: Callable[[_Direction, int], Step],
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
    attributes: dict[str, Any],
    defaults: tuple[str, ...],
) -> tuple[Tensor, ...]:
    """Run a cell over time in each direction; returns y and the final states."""
    layout, direction = attributes.get("layout", 0), attributes.get("direction", "forward")
    if layout:
        x = x.transpose(0, 1)
        states = [None if s is None else s.transpose(0, 1) for s in states]
    directions, hidden = w.shape[0], r.shape[-1]
    functions = activations_of(attributes, defaults, directions)
    b = w.new_zeros(directions, 2 * w.shape[1]) if b is None else b
    runs = []
    for d in range(directions):
        wb, rb = b[d].chunk(2)
        weights = _Direction(w[d], r[d], wb, rb, functions[d])
        start = tuple(x.new_zeros(x.shape[1], hidden) if s is None else s[d] for s in states)
        backwards = direction == "reverse" or d == 1
        runs.append(_over_time(cell(weights, d), _reverse(x, lengths) if backwards else x, start, lengths))
        if backwards:
            runs[-1] = (_reverse(runs[-1][0], lengths), *runs[-1][1:])
    y, *finals = (torch.stack(parts, 1 if i == 0 else 0) for i, parts in enumerate(zip(*runs, strict=True)))
    if layout:
        return y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in finals)
    return y, *finals


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence backwards from its own end; padding stays at the end."""
    if lengths is None:
        return x.flip(0)
    step = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    source = torch.where(step < lengths, lengths - 1 - step, step).long()
    return x.gather(0, source.unsqueeze(-1).expand_as(x))


def _over_time(step: Step, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, ...]:
    """Run one direction over time; returns (T, N, H) and the final states. Padding gives zeros."""
    if x.shape[0] > STEP_LIMIT:
        raise NotImplementedError(f"a sequence of {x.shape[0]} steps, at most {STEP_LIMIT} are supported")
    outputs = []
    for t in range(x.shape[0]):
        new = step(x[t], state)
        if lengths is None:
            state = new
            outputs.append(new[0])
        else:
            running = (t < lengths).unsqueeze(1)
            state = tuple(torch.where(running, n, s) for n, s in zip(new, state, strict=True))
            outputs.append(torch.where(running, new[0], torch.zeros_like(new[0])))
    return torch.stack(outputs), *state


@operator("RNN", (7, 14, 22), counts_outputs=True)
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    num_outputs: int,
    **attributes: Any,
) -> Tensor | tuple[Tensor, ...]:
    """h = f(x W' + h R' + b)."""

    def cell(c: _Direction, d: int) -> Step:
        (f,) = c.functions

        def step(x: Tensor, state: State) -> State:
            return (f(x @ c.w.T + c.wb + state[0] @ c.r.T + c.rb),)

        return step

    return first_outputs(_run(cell, x, w, r, b, lengths, [initial_h], attributes, ("Tanh",)), num_outputs)


@operator("GRU", (7, 14, 22), counts_outputs=True)
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    num_outputs: int,
    linear_before_reset: int = 0,
    **attributes: Any,
) -> Tensor | tuple[Tensor, ...]:
    """h = (1 - z) n + z h; the gates are in the order update z, reset, hidden n (Cho et al. 2014)."""

    def cell(c: _Direction, d: int) -> Step:
        f, g = c.functions
        size = c.r.shape[-1]

        def step(x: Tensor, state: State) -> State:
            (h,) = state
            from_x = x @ c.w.T + c.wb
            gates = from_x[:, : 2 * size] + h @ c.r[: 2 * size].T + c.rb[: 2 * size]
            z, reset = f(gates).chunk(2, 1)
            if linear_before_reset:
                from_h = reset * (h @ c.r[2 * size :].T + c.rb[2 * size :])
            else:
                from_h = (reset * h) @ c.r[2 * size :].T + c.rb[2 * size :]
            return ((1 - z) * g(from_x[:, 2 * size :] + from_h) + z * h,)

        return step

    return first_outputs(_run(cell, x, w, r, b, lengths, [initial_h], attributes, ("Sigmoid", "Tanh")), num_outputs)


@operator("LSTM", (7, 14, 22), counts_outputs=True)
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    *,
    num_outputs: int,
    input_forget: int = 0,
    **attributes: Any,
) -> Tensor | tuple[Tensor, ...]:
    """Gates in the order input, output, forget, cell; peepholes p (D, 3 H) in the order input, output, forget."""

    def cell(weights: _Direction, d: int) -> Step:
        f, g, h_of = weights.functions
        pi, po, pf = (0.0, 0.0, 0.0) if p is None else p[d].chunk(3)

        def step(x: Tensor, state: State) -> State:
            h, c = state
            gates = x @ weights.w.T + weights.wb + h @ weights.r.T + weights.rb
            i, o, forget, new = gates.chunk(4, 1)
            i = f(i + pi * c)
            keep = 1 - i if input_forget else f(forget + pf * c)
            c = keep * c + i * g(new)
            return f(o + po * c) * h_of(c), c

        return step

    states, defaults = [initial_h, initial_c], ("Sigmoid", "Tanh", "Tanh")
    return first_outputs(_run(cell, x, w, r, b, lengths, states, attributes, defaults), num_outputs)
