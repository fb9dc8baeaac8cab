"""An ONNX graph and its rewriting: which node computes a tensor, which nodes read it, and which are needed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators; their schemas are in its `docs/ContribOperators.md`."""


class Graph:
    """A model's graph, rewritten one pass after another.

    :param model: The model; it is changed in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._constants = {item.name: item for item in model.graph.initializer}
        self._index()

    @property
    def nodes(self) -> list[NodeProto]:
        """The nodes, each after those that it reads."""
        return list(self.model.graph.node)

    def producer(self, name: str, kind: str = "") -> NodeProto | None:
        """Return the node that computes a tensor, or None where it is an input, a weight, or not of this kind."""
        node = self._producers.get(name)
        return node if node is not None and kind in {"", node.op_type} else None

    def readers(self, name: str) -> list[NodeProto]:
        """Return the nodes that read a tensor."""
        return self._readers.get(name, [])

    def only_reader(self, name: str, kind: str) -> NodeProto | None:
        """Return the one node that reads a tensor, or None where there are others or it is not of this kind."""
        readers = self.readers(name)
        alone = len(readers) == 1 and readers[0].op_type == kind and name not in self._outputs
        return readers[0] if alone else None

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """Return a weight, or None where the name is not one."""
        constant = self._constants.get(name)
        return None if constant is None else numpy_helper.to_array(constant)

    def shape(self, name: str) -> list[int | str]:
        """Return a tensor's shape as the export declared it, empty where it declared none."""
        tensor = self._types.get(name)
        dimensions = [] if tensor is None else tensor.shape.dim
        return [item.dim_value if item.HasField("dim_value") else item.dim_param for item in dimensions]

    def element_type(self, name: str) -> int:
        """Return a tensor's element type as the export declared it, 0 where it declared none."""
        tensor = self._types.get(name)
        return 0 if tensor is None else int(tensor.elem_type)

    def add(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a weight under this name, unless it is there, and return the name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def rewrite(self, replacement: Callable[[NodeProto], list[NodeProto] | None]) -> None:
        """Replace nodes, and drop nodes and weights that nothing reads any more.

        :param replacement: Returns the nodes that replace a node, or None. Of nodes with the same output, the first in
            the graph is kept.
        """
        unique: dict[str, NodeProto] = {}
        for old in self.nodes:
            for node in replacement(old) or [old]:
                unique.setdefault(node.output[0], node)
        kept: list[NodeProto] = []
        needed = set(self._outputs)
        for node in reversed(unique.values()):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        graph = self.model.graph
        produced = {name for node in kept for name in node.output}
        declared = [item for item in graph.value_info if item.name in produced]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        self._constants = {name: item for name, item in self._constants.items() if name in needed}
        graph.node.extend(reversed(kept))
        graph.initializer.extend(self._constants.values())
        graph.value_info.extend(declared)
        self._index()

    def _index(self) -> None:
        graph = self.model.graph
        self._outputs = {item.name for item in graph.output}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._types = {item.name: item.type.tensor_type for item in (*graph.value_info, *graph.input)}


def node(kind: str, inputs: Iterable[str], output: str, domain: str = "", **attributes: Any) -> NodeProto:
    """Return a node with one output, named after it."""
    return helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", domain=domain, **attributes)


def attributes(of: NodeProto) -> Mapping[str, Any]:
    """Return a node's attributes as Python values."""
    return {item.name: helper.get_attribute_value(item) for item in of.attribute}
