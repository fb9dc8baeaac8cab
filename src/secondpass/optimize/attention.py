"""Attention in ONNX Runtime's own operators, which older versions have as well, instead of ONNX's new ones."""

import numpy as np
from onnx import NodeProto, TensorProto

from secondpass.errors import ModelError
from secondpass.optimize.graphs import MICROSOFT, Graph, attributes, node

MASKED_SCORE = -1e9
"""What is added to the attention score of a masked token: its share of the softmax becomes exactly 0."""
_HEADS_FIRST = [0, 2, 1, 3]


def lower_attention(graph: Graph) -> None:
    """Replace ONNX's Attention, which ONNX Runtime below 1.23 lacks, by its own MultiHeadAttention.

    Attention takes (pairs, heads, tokens, width), MultiHeadAttention takes (pairs, tokens, heads * width). That is
    the shape of the linear layers on both sides, so that the transposes between are dropped.

    :raises ModelError: If it is causal, or shares keys between heads.
    """
    graph.rewrite(lambda old: _attention(graph, old) if old.op_type == "Attention" else None)


def lower_rotary(graph: Graph) -> None:
    """Replace ONNX's RotaryEmbedding, which ONNX Runtime below 1.23 lacks, by its own.

    The export gives it one table (1, tokens, width / 2) for all pairs; ONNX Runtime's takes a table
    (tokens, width / 2) and the first token's position.

    :raises ModelError: If the tables differ from pair to pair.
    """
    graph.rewrite(lambda old: _rotary(graph, old) if old.op_type == "RotaryEmbedding" and not old.domain else None)


def _rotary(graph: Graph, old: NodeProto) -> list[NodeProto]:
    name = old.output[0]
    value, *tables = old.input
    producers = [graph.producer(table) for table in tables]  # a cosine and a sine, with the shape of the angles
    if len(tables) != 2 or any(item is None or graph.shape(item.input[0])[:1] != [1] for item in producers):
        raise ModelError(f"rotary positions that differ from pair to pair can't be exported ({old.name})")
    zero = graph.add("rotary/zero", np.array([0], dtype=np.int64))  # the axis, and the first token's position
    squeezed = [f"{name}/table{number}" for number in range(len(tables))]
    return [
        *(node("Squeeze", [table, zero], output) for table, output in zip(tables, squeezed, strict=True)),
        node("RotaryEmbedding", [value, zero, *squeezed], name, MICROSOFT, **attributes(old)),
    ]


def _attention(graph: Graph, old: NodeProto) -> list[NodeProto]:
    """Return the nodes that replace an Attention node."""
    heads, width = _size(graph, old)
    inputs: list[str] = []
    nodes: list[NodeProto] = []
    for name in old.input[:3]:
        merged, before = _merge_heads(graph, name)
        inputs.append(merged)
        nodes += before
    mask, before = _mask(graph, old, heads)
    output, after = _split_heads(graph, old.output[0], heads, width)
    scale = float(attributes(old).get("scale", width**-0.5))
    options = {"num_heads": heads, "scale": scale, "mask_filter_value": MASKED_SCORE}
    return [*nodes, *before, node("MultiHeadAttention", [*inputs, *mask], output, MICROSOFT, **options), *after]


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


def _merge_heads(graph: Graph, name: str) -> tuple[str, list[NodeProto]]:
    """Return a tensor (pairs, heads, tokens, width) as (pairs, tokens, heads * width), and the nodes for it."""
    transpose = graph.producer(name, "Transpose")
    reshape = None if transpose is None else graph.producer(transpose.input[0], "Reshape")
    if transpose is not None and reshape is not None and attributes(transpose)["perm"] == _HEADS_FIRST:
        return reshape.input[0], []
    shape = graph.add("attention/merged", np.array([0, 0, -1], dtype=np.int64))
    return f"{name}/merged", [
        node("Transpose", [name], f"{name}/tokens", perm=_HEADS_FIRST),
        node("Reshape", [f"{name}/tokens", shape], f"{name}/merged"),
    ]


def _split_heads(graph: Graph, name: str, heads: int, width: int) -> tuple[str, list[NodeProto]]:
    """Return the name of the new node's output, and the nodes from there to the Attention node's output."""
    transpose = graph.only_reader(name, "Transpose")
    reshape = None if transpose is None else graph.only_reader(transpose.output[0], "Reshape")
    if transpose is not None and reshape is not None and len(graph.shape(reshape.output[0])) == 3:
        return reshape.output[0], []  # replaces the old Reshape, whose output has the same name
    shape = graph.add("attention/split", np.array([0, 0, heads, width], dtype=np.int64))
    return f"{name}/merged", [
        node("Reshape", [f"{name}/merged", shape], f"{name}/split"),
        node("Transpose", [f"{name}/split"], name, perm=_HEADS_FIRST),
    ]


def _mask(graph: Graph, old: NodeProto, heads: int) -> tuple[list[str], list[NodeProto]]:
    """Return the new node's mask inputs, and the nodes that compute them.

    An Attention node's mask is (pairs, 1, tokens, tokens): booleans, or what is added to the scores. Two forms of it
    are avoided, which ONNX Runtime 1.20 misreads: integers with fewer queries than keys, and one bias for all heads.
    """
    query, key, _, mask = [*old.input, ""][:4]
    if not mask:
        return [], []
    boolean = graph.element_type(mask) == TensorProto.BOOL
    if boolean and graph.shape(query)[2] == graph.shape(key)[2]:
        axis = graph.add("attention/heads", np.array([1], dtype=np.int64))
        return ["", f"{mask}/integers"], [
            node("Squeeze", [mask, axis], f"{mask}/squeezed"),
            node("Cast", [f"{mask}/squeezed"], f"{mask}/integers", to=TensorProto.INT32),
        ]
    zero = graph.add("attention/zero", np.array(0, dtype=np.float32))
    masked = graph.add("attention/masked", np.array(MASKED_SCORE, dtype=np.float32))
    shape = graph.add("attention/each", np.array([1, heads, 1, 1], dtype=np.int64))
    score = f"{mask}/score" if boolean else mask
    before = [node("Where", [mask, zero, masked], score)] if boolean else []
    return ["", "", f"{mask}/bias"], [*before, node("Expand", [score, shape], f"{mask}/bias")]
