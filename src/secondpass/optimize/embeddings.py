"""Embedding tables of whole numbers: rows become real numbers when they are looked up, never the table as a whole."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from secondpass.optimize.graphs import Graph, node

_LEAST_ROWS = 64  # below, there is nothing to save


def quantise_embeddings(graph: Graph) -> None:
    """Store each large table as int8 with one scale a row: a quarter of its size, on disk and in memory."""
    nodes: list[NodeProto] = []
    for one in graph.nodes:
        table = graph.constant(one.input[0]) if one.op_type == "Gather" else None
        large = table is not None and table.ndim == 2 and table.dtype == np.float32 and len(table) >= _LEAST_ROWS
        nodes += _lookup(graph, one, table) if table is not None and large else [one]
    graph.replace(nodes)


def _lookup(graph: Graph, old: NodeProto, table: np.ndarray[Any, Any]) -> list[NodeProto]:
    """Return the nodes that look rows up in a table (rows, width)."""
    name, rows = old.input
    output = old.output[0]
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, np.float32(1e-8))
    whole = graph.add(f"{name}/whole", np.round(table / scales).astype(np.int8))
    return [
        node("Gather", [whole, rows], f"{output}/whole"),
        node("Gather", [graph.add(f"{name}/scales", scales), rows], f"{output}/scales"),
        node("Cast", [f"{output}/whole"], f"{output}/real", to=TensorProto.FLOAT),
        node("Mul", [f"{output}/real", f"{output}/scales"], output),
    ]
