"""Attention in ONNX Runtime's own operators, which it has had long before ONNX had any."""

import numpy as np
from onnx import NodeProto, TensorProto

from secondpass.errors import ModelError
from secondpass.optimize.graphs import MICROSOFT, Graph, attributes, node

HIDDEN_SCORE = -1e9
"""What is added to the score of a token that must not be seen: its share of the softmax becomes exactly 0."""
_HEADS_FIRST = [0, 2, 1, 3]


def lower_attention(graph: Graph) -> None:
    """Replace ONNX's Attention, which ONNX Runtime below 1.23 doesn't know, by its own MultiHeadAttention.

    Attention takes (pairs, heads, tokens, width), MultiHeadAttention takes (pairs, tokens, heads * width). That is
    what the linear layers on both sides of it have, so that the transposes between fall away.

    :raises ModelError: If it is causal, or shares keys between heads.
    """
    nodes: list[NodeProto] = []
    made: set[str] = set()  # masks are shared by all layers
    for old in graph.nodes:
        new = _attention(graph, old) if old.op_type == "Attention" else [old]
        nodes += [one for one in new if one.output[0] not in made]
        made.update(one.output[0] for one in new)
    graph.replace(nodes)


def lower_rotary(graph: Graph) -> None:
    """Replace ONNX's RotaryEmbedding, of the same age, by ONNX Runtime's.

    The export gives it one table (1, tokens, width / 2) for all pairs, where ONNX wants one for each; the other takes
    a table (tokens, width / 2) and the first token's position.

    :raises ModelError: If the tables are others.
    """
    nodes: list[NodeProto] = []
    for old in graph.nodes:
        nodes += _rotary(graph, old) if old.op_type == "RotaryEmbedding" and not old.domain else [old]
    graph.replace(nodes)


def _rotary(graph: Graph, old: NodeProto) -> list[NodeProto]:
    name = old.output[0]
    value, *tables = old.input
    makers = [graph.maker(table) for table in tables]  # a cosine and a sine, whose shape is that of the angles
    if len(tables) != 2 or any(maker is None or graph.shape(maker.input[0])[:1] != [1] for maker in makers):
        raise ModelError(f"rotary positions that differ from pair to pair can't be exported ({old.name})")
    pairs = graph.add("rotary/pairs", np.array([0], dtype=np.int64))  # the axis, and the first token's position
    flat = [f"{name}/table{number}" for number in range(len(tables))]
    return [
        *(node("Squeeze", [table, pairs], made) for table, made in zip(tables, flat, strict=True)),
        node("RotaryEmbedding", [value, pairs, *flat], name, MICROSOFT, **attributes(old)),
    ]


def _attention(graph: Graph, old: NodeProto) -> list[NodeProto]:
    """Return the nodes that do an Attention node's work."""
    heads, width = _size(graph, old)
    inputs, nodes = [], []
    for name in old.input[:3]:
        flat, before = _flat(graph, name)
        inputs.append(flat)
        nodes += before
    seen, before = _mask(graph, old, heads)
    output, after = _unflat(graph, old.output[0], heads, width)
    scale = float(attributes(old).get("scale", width**-0.5))
    how = {"num_heads": heads, "scale": scale, "mask_filter_value": HIDDEN_SCORE}
    attention = node("MultiHeadAttention", [*inputs, *seen], output, MICROSOFT, **how)
    return [*nodes, *before, attention, *after]


def _size(graph: Graph, old: NodeProto) -> tuple[int, int]:
    """Return how many heads there are, and how wide each is."""
    sizes = [graph.shape(name)[1::2] for name in old.input[:3]]
    heads, width = sizes[0] if len(sizes[0]) == 2 else (0, 0)
    masked = len(old.input) < 4 or len(graph.shape(old.input[3])) == 4
    special = [attributes(old).get(name, 0) for name in ("is_causal", "softcap")]
    plain = masked and not any(special) and sizes.count(sizes[0]) == 3
    if not plain or not isinstance(heads, int) or not isinstance(width, int) or not heads:
        raise ModelError(f"only attention to every token, with keys for each head, can be exported ({old.name})")
    return heads, width


def _flat(graph: Graph, name: str) -> tuple[str, list[NodeProto]]:
    """Return a tensor (pairs, heads, tokens, width) as (pairs, tokens, heads * width), and the nodes to get there."""
    transpose = graph.maker(name, "Transpose")
    reshape = None if transpose is None else graph.maker(transpose.input[0], "Reshape")
    if transpose is not None and reshape is not None and attributes(transpose)["perm"] == _HEADS_FIRST:
        return reshape.input[0], []
    shape = graph.add("attention/flat", np.array([0, 0, -1], dtype=np.int64))
    return f"{name}/flat", [
        node("Transpose", [name], f"{name}/tokens", perm=_HEADS_FIRST),
        node("Reshape", [f"{name}/tokens", shape], f"{name}/flat"),
    ]


def _unflat(graph: Graph, name: str, heads: int, width: int) -> tuple[str, list[NodeProto]]:
    """Return what the fused node shall be called, and the nodes from there to an Attention node's output."""
    transpose = graph.only_reader(name, "Transpose")
    reshape = None if transpose is None else graph.only_reader(transpose.output[0], "Reshape")
    if transpose is not None and reshape is not None and len(graph.shape(reshape.output[0])) == 3:
        return reshape.output[0], []  # the old reshape falls away: its output is made already
    shape = graph.add("attention/split", np.array([0, 0, heads, width], dtype=np.int64))
    return f"{name}/fused", [
        node("Reshape", [f"{name}/fused", shape], f"{name}/split"),
        node("Transpose", [f"{name}/split"], name, perm=_HEADS_FIRST),
    ]


def _mask(graph: Graph, old: NodeProto, heads: int) -> tuple[list[str], list[NodeProto]]:
    """Return the fused node's inputs that say what each token may see, and the nodes that make them.

    An Attention node's mask is (pairs, 1, tokens, tokens): booleans, or what is added to the scores. Of the ways to
    hand it on, ONNX Runtime 1.20 misreads two: integers where not all tokens ask, and one bias for all heads.
    """
    query, key, _, mask = [*old.input, ""][:4]
    if not mask:
        return [], []
    boolean = graph.kind(mask) == TensorProto.BOOL
    if boolean and graph.shape(query)[2] == graph.shape(key)[2]:
        axis = graph.add("attention/heads", np.array([1], dtype=np.int64))
        return ["", f"{mask}/seen"], [
            node("Squeeze", [mask, axis], f"{mask}/squeezed"),
            node("Cast", [f"{mask}/squeezed"], f"{mask}/seen", to=TensorProto.INT32),
        ]
    seen = graph.add("attention/seen", np.array(0, dtype=np.float32))
    hidden = graph.add("attention/hidden", np.array(HIDDEN_SCORE, dtype=np.float32))
    shape = graph.add("attention/each", np.array([1, heads, 1, 1], dtype=np.int64))
    score = f"{mask}/score" if boolean else mask
    before = [node("Where", [mask, seen, hidden], score)] if boolean else []
    return ["", "", f"{mask}/bias"], [*before, node("Expand", [score, shape], f"{mask}/bias")]
