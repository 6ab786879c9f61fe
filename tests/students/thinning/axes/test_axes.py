"""Each operator between two layers: the channels that may be removed, and the proof that they can be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.students.thinning.graphs import Shape, every_second, feeds, graph_of, groups_of
from zskd_onnx.students.thinning.prove import prove
from zskd_onnx.students.thinning.remove import remove

FIRST = "a = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)"
LAST = "p = GlobalAveragePool (z)  f = Flatten (p)  y = Gemm <transB = 1> (f, wy, by)"
WEIGHTS: dict[str, Shape | np.ndarray] = {"w0": (8, 3, 3, 3), "b0": (8,), "by": (4,)}
INTEGERS = {"one": [1], "two": [2], "three": [3], "four": [4], "six": [6], "eight": [8], "minus": [-1]}


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


CASES: dict[str, tuple[str, dict[str, Shape | np.ndarray], dict[str, int]]] = {
    "relu": ("z = Relu (a)", {"wy": (4, 8)}, {"a": 8}),
    "second convolution": ("b = Relu (a) z = Conv (b, w1)", {"w1": (6, 8, 3, 3), "wy": (4, 6)}, {"a": 8, "z": 6}),
    "residual": (
        "b = Conv <pads = [1,1,1,1]> (a, w1, b1) c = Relu (b) d = Conv (c, w2) z = Add (d, a)",
        {"w1": (6, 8, 3, 3), "b1": (6,), "w2": (8, 6, 1, 1), "wy": (4, 8)},
        {"a": 8, "b": 6},
    ),
    "depthwise": ("z = Conv <group = 8> (a, w1, b1)", {"w1": (8, 1, 3, 3), "b1": (8,), "wy": (4, 8)}, {"a": 8}),
    "depthwise with a multiplier": ("z = Conv <group = 8> (a, w1)", {"w1": (16, 1, 3, 3), "wy": (4, 16)}, {"a": 8}),
    "many groups": ("z = Conv <group = 4> (a, w1)", {"w1": (4, 2, 3, 3), "wy": (4, 4)}, {"a": 4}),
    "few groups": ("z = Conv <group = 2> (a, w1)", {"w1": (6, 4, 3, 3), "wy": (4, 6)}, {"a": 4, "z": 3}),
    "transposed": ("z = ConvTranspose (a, w1, b1)", {"w1": (8, 6, 3, 3), "b1": (6,), "wy": (4, 6)}, {"a": 8, "z": 6}),
    "transposed depthwise": ("z = ConvTranspose <group = 8> (a, w1)", {"w1": (8, 1, 3, 3), "wy": (4, 8)}, {"a": 8}),
    "batch normalisation": (
        "z = BatchNormalization (a, s, t, m, v)",
        {"s": (8,), "t": (8,), "m": (8,), "v": np.linspace(1, 2, 8, dtype=np.float32), "wy": (4, 8)},
        {"a": 8},
    ),
    "instance normalisation": ("z = InstanceNormalization (a, s, t)", {"s": (8,), "t": (8,), "wy": (4, 8)}, {"a": 8}),
    "prelu": ("z = PRelu (a, s)", {"s": (8, 1, 1), "wy": (4, 8)}, {"a": 8}),
    "softmax over channels": ("z = Softmax <axis = 1> (a)", {"wy": (4, 8)}, {}),
    "softmax over positions": ("z = Softmax <axis = 3> (a)", {"wy": (4, 8)}, {"a": 8}),
    "local response": ("z = LRN <size = 3> (a)", {"wy": (4, 8)}, {}),
    "concatenation": (
        "b = Conv <pads = [1,1,1,1]> (x, w1) z = Concat <axis = 1> (a, b)",
        {"w1": (6, 3, 3, 3), "wy": (4, 14)},
        {"a": 8, "b": 6},
    ),
    "split and product": (
        "b, c = Split <axis = 1> (a, sizes) z = Mul (b, c)",
        {"sizes": integers(4, 4), "wy": (4, 4)},
        {"a": 4},
    ),
    "unequal split": (
        "b, c = Split <axis = 1> (a, sizes) z = Concat <axis = 1> (c, b)",
        {"sizes": integers(3, 5), "wy": (4, 8)},
        {"a": 3, "a:2": 5},
    ),
    "equal split": (
        "b, c = Split <axis = 1, num_outputs = 2> (a) d = Relu (c) z = Concat <axis = 1> (b, d)",
        {"wy": (4, 8)},
        {"a": 4, "a:2": 4},
    ),
    "slice of channels": (
        "z = Slice (a, three, eight, one)",
        {**{k: integers(*v) for k, v in INTEGERS.items() if k in ("three", "eight", "one")}, "wy": (4, 5)},
        {"a": 3, "a:2": 5},
    ),
    "padded channels": (
        "b = Conv <pads = [1,1,1,1]> (a, w1) c = Pad (a, pads) z = Add (b, c)",
        {"w1": (12, 8, 3, 3), "pads": integers(0, 1, 0, 0, 0, 3, 0, 0), "wy": (4, 12)},
        {"a": 8, "b": 4},
    ),
    "max pooling": ("z = MaxPool <kernel_shape = [2, 2]> (a)", {"wy": (4, 8)}, {"a": 8}),
    "resize to sizes": (
        'z = Resize <mode = "nearest"> (a, , , sizes)',
        {"sizes": integers(2, 8, 9, 9), "wy": (4, 8)},
        {"a": 8},
    ),
    "channels last": (
        "b = Transpose <perm = [0, 2, 3, 1]> (a) c = Relu (b) z = Transpose <perm = [0, 3, 1, 2]> (c)",
        {"wy": (4, 8)},
        {"a": 8},
    ),
    "squeeze and excite": (
        "q = GlobalAveragePool (a) r = Conv (q, w1, b1) s = Relu (r) t = Conv (s, w2) u = Sigmoid (t) z = Mul (a, u)",
        {"w1": (4, 8, 1, 1), "b1": (4,), "w2": (8, 4, 1, 1), "wy": (4, 8)},
        {"a": 8, "r": 4},
    ),
    "excite after a mean": (
        "q = ReduceMean <keepdims = 0> (a, where) r = MatMul (q, w1) s = Sigmoid (r) t = Unsqueeze (s, back) z = Mul (a, t)",
        {"w1": (8, 8), "where": integers(2, 3), "back": integers(2, 3), "wy": (4, 8)},
        {"a": 8},
    ),
    "group normalisation": (
        "b = Reshape (a, grouped) c = InstanceNormalization (b, s, t) z = Reshape (c, back)",
        {"grouped": integers(0, 4, -1), "s": (4,), "t": (4,), "back": integers(-1, 8, 6, 6), "wy": (4, 8)},
        {"a": 4},
    ),
    "normalisation of all channels as one group": (
        "b = Reshape (a, grouped) c = InstanceNormalization (b, s, t) z = Reshape (c, back)",
        {"grouped": integers(0, 1, -1), "s": (1,), "t": (1,), "back": integers(-1, 8, 6, 6), "wy": (4, 8)},
        {},
    ),
    "channel shuffle": (
        "b = Reshape (a, split) c = Transpose <perm = [0, 2, 1, 3, 4]> (b) z = Reshape (c, back)",
        {"split": integers(-1, 2, 4, 6, 6), "back": integers(-1, 8, 6, 6), "wy": (4, 8)},
        {"a": 4},
    ),
    "expanded scale": (
        "b = Expand (s, sizes) z = Mul (a, b)",
        {"s": (1, 8, 1, 1), "sizes": integers(1, 8, 6, 6), "wy": (4, 8)},
        {"a": 8},
    ),
    "an operator without a rule": ("z = CumSum (a, three)", {"three": np.array(1), "wy": (4, 8)}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    text, weights, widths = CASES[name]
    model = graph_of(f"{FIRST} {text} {LAST}", {**WEIGHTS, **weights})
    groups = groups_of(model)

    assert {group.name: group.width for group in groups.groups} == widths
    removed = every_second(groups)
    thinned = remove(groups, removed)
    sizes = [2] if "sizes" in weights and name.startswith("resize") else [1, 2, 3]
    assert prove(groups, removed, thinned, [feeds(model, count) for count in sizes]) < 1e-5
    assert [node.op_type for node in thinned.graph.node] == [node.op_type for node in model.graph.node]


def test_flattened_channels_are_removed_at_every_position() -> None:
    model = graph_of(f"{FIRST} f = Flatten (a) y = Gemm (f, wy, by)", {**WEIGHTS, "wy": (8 * 36, 4)})
    groups = groups_of(model)
    removed = every_second(groups)
    thinned = remove(groups, removed)

    assert prove(groups, removed, thinned, [feeds(model, 2)]) < 1e-5
    shapes = {tensor.name: tuple(tensor.dims) for tensor in thinned.graph.initializer}
    assert shapes["wy"] == (4 * 36, 4)


def test_a_shape_that_the_graph_computes_follows() -> None:
    text = (
        "s = Shape <start = 0, end = 1> (a) t = Concat <axis = 0> (s, eight, minus) b = Reshape (a, t) "
        "u = Concat <axis = 0> (s, eight, six, six) z = Reshape (b, u)"
    )
    numbers = {name: integers(*INTEGERS[name]) for name in ("eight", "minus", "six")}
    model = graph_of(f"{FIRST} {text} {LAST}", {**WEIGHTS, **numbers, "wy": (4, 8)})
    groups = groups_of(model)
    removed = every_second(groups)

    assert [group.width for group in groups.groups] == [8]
    assert prove(groups, removed, remove(groups, removed), [feeds(model, n) for n in (1, 2, 3)]) < 1e-5


@pytest.mark.parametrize("gone", [slice(5, 8), slice(0, 2), slice(2, 5)])
def test_bounds_of_equal_chunks_that_the_graph_computes_are_set(gone: slice) -> None:
    """``torch.chunk``, of whose chunks one keeps more channels than the other."""
    text = (
        "s = Shape (a) c = Gather (s, one) h = Div (c, two) v = Slice (a, zero, h, one) w = Slice (a, h, c, one) "
        "m = Conv <pads = [1,1,1,1]> (v, w1) n = Conv <pads = [1,1,1,1]> (w, w2) z = Add (m, n)"
    )
    numbers = {"zero": integers(0), "one": integers(1), "two": integers(2)}
    weights = {**WEIGHTS, **numbers, "w1": (12, 4, 3, 3), "w2": (12, 4, 3, 3), "wy": (4, 12)}
    groups = groups_of(graph_of(f"{FIRST} {text} {LAST}", weights))
    removed = {channel for group in groups.groups if group.name.startswith("a") for channel in group.channels}
    removed = set(sorted(removed)[gone])

    assert len(removed) == gone.stop - gone.start
    batches = [feeds(groups.graph.proto, n) for n in (1, 2, 3)]
    assert prove(groups, removed, remove(groups, removed), batches) < 1e-5


def test_a_width_that_is_read_from_another_value_is_set() -> None:
    text = (
        "b = Conv <pads = [1,1,1,1]> (a, w1) s = Shape (a) n = Gather (s, zero) c = Gather (s, one) "
        "u = Concat <axis = 0> (n, c, six, six) z = Reshape (b, u)"
    )
    numbers = {"zero": integers(0), "one": integers(1), "six": integers(*INTEGERS["six"])}
    groups = groups_of(graph_of(f"{FIRST} {text} {LAST}", {**WEIGHTS, **numbers, "w1": (8, 8, 3, 3), "wy": (4, 8)}))
    removed = {channel for group in groups.groups for channel in group.channels[: 2 if group.name == "a" else 5]}

    assert [group.width for group in groups.groups] == [8, 8]
    batches = [feeds(groups.graph.proto, n) for n in (1, 2, 3)]
    assert prove(groups, removed, remove(groups, removed), batches) < 1e-5


ATTENTION = """
    n = LayerNormalization (e, g0, h0)
    q0 = MatMul (n, wq)  q1 = Reshape (q0, split)  q = Transpose <perm = [2, 0, 3, 1, 4]> (q1)
    q2, k2, v2 = Split <axis = 0, num_outputs = 3> (q)
    qs = Squeeze (q2, zero)  ks = Squeeze (k2, zero)  vs = Squeeze (v2, zero)
    kt = Transpose <perm = [0, 1, 3, 2]> (ks)  m = MatMul (qs, kt)  o = Softmax <axis = -1> (m)
    r = MatMul (o, vs)  rt = Transpose <perm = [0, 2, 1, 3]> (r)  j = Reshape (rt, back)
    l = MatMul (j, wo)  d = Add (e, l)
    n2 = LayerNormalization (d, g1, h1)  i = MatMul (n2, wi)  ig = Relu (i)  io = MatMul (ig, wz)  k = Add (d, io)
    p = ReduceMean <keepdims = 0> (k, one)  y = Gemm (p, wy, by)
"""


def test_whole_attention_heads_the_hidden_width_and_the_residual_stream_are_groups() -> None:
    weights: dict[str, Shape | np.ndarray] = {
        **{"we": (5, 12), "g0": (12,), "h0": (12,), "wq": (12, 36), "wo": (12, 12), "g1": (12,), "h1": (12,)},
        **{"wi": (12, 20), "wz": (20, 12), "wy": (12, 4), "by": (4,), "zero": integers(0), "one": integers(1)},
        **{"split": integers(0, 7, 3, 4, 3), "back": integers(0, 7, 12)},
    }
    model = graph_of(f"e = MatMul (x, we) {ATTENTION}", weights, sample=(7, 5))
    groups = groups_of(model)
    removed = every_second(groups)

    assert {g.name: (g.width, g.positions) for g in groups.groups} == {"e": (12, 1), "q0": (4, 9), "i": (20, 1)}
    assert prove(groups, removed, remove(groups, removed), [feeds(model, n) for n in (1, 2, 3)]) < 1e-5


def test_an_axis_that_stays_names_the_node_that_holds_it() -> None:
    model = graph_of(f"{FIRST} z = LRN <size = 3> (a) {LAST}", {**WEIGHTS, "wy": (4, 8)})
    (held,) = groups_of(model).held

    assert (held.node, held.width, held.held_by) == ("node 'a' (Conv)", 8, "node 'z' (LRN)")


def test_a_transposed_weight_is_cut_where_the_file_stores_it() -> None:
    text = "f = Flatten (x) wt = Transpose (w1) b = MatMul (f, wt) c = Relu (b) y = MatMul (c, w2)"
    model = graph_of(text, {"w1": (10, 108), "w2": (10, 4)})
    groups = groups_of(model)
    removed = every_second(groups)
    thinned = remove(groups, removed)

    assert prove(groups, removed, thinned, [feeds(model, 2)]) < 1e-5
    assert {t.name: tuple(t.dims) for t in thinned.graph.initializer} == {"w1": (5, 108), "w2": (5, 4)}


def test_equal_biases_that_a_file_stores_once_do_not_tie_layers_together() -> None:
    text = "a = Conv (x, w0, zeros) b = Conv (a, w1, zeros) z = Conv (b, w2)"
    weights: dict[str, Shape | np.ndarray] = {
        **{"w0": (8, 3, 1, 1), "w1": (8, 8, 1, 1), "w2": (6, 8, 1, 1), "wy": (4, 6), "by": (4,)},
        "zeros": np.zeros(8, dtype=np.float32),
    }
    groups = groups_of(graph_of(f"{text} {LAST}", weights))

    assert {group.name: group.width for group in groups.groups} == {"a": 8, "b": 8, "z": 6}


def test_a_shared_weight_ties_its_channels() -> None:
    text = "f = Flatten (x) b = MatMul (f, w1) c = Relu (b) d = MatMul (c, w2) e = Relu (d) g = MatMul (e, w2) y = MatMul (g, wy)"
    model = graph_of(text, {"w1": (108, 10), "w2": (10, 10), "wy": (10, 4)})
    groups = groups_of(model)
    removed = every_second(groups)

    assert [group.width for group in groups.groups] == [10]
    assert prove(groups, removed, remove(groups, removed), [feeds(model, 2)]) < 1e-5
