"""An ONNX graph under the knife: who makes a tensor, who reads it, and what is left when nobody does."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators; their schemas are in its `docs/ContribOperators.md`."""


class Graph:
    """A model's graph, rewritten one pass after another.

    A pass walks over ``nodes``, hands back the nodes that shall be there instead, and calls ``replace``: what is no
    longer read is dropped there, weights included.

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

    def maker(self, name: str, kind: str = "") -> NodeProto | None:
        """Return the node that makes a tensor, or None where it is an input, a weight, or not of this kind."""
        node = self._makers.get(name)
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
        found = self._constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def shape(self, name: str) -> list[int | str]:
        """Return a tensor's shape as far as the export noted it, empty where it noted none."""
        return self._shapes.get(name, [])

    def kind(self, name: str) -> int:
        """Return a tensor's element type as the export noted it, 0 where it noted none."""
        return self._kinds.get(name, 0)

    def add(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """Add a weight under this name, unless it is there, and return the name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def replace(self, nodes: Iterable[NodeProto]) -> None:
        """Put these nodes in place of the old ones, without those that nobody reads."""
        kept: list[NodeProto] = []
        needed = set(self._outputs)
        for node in reversed(list(nodes)):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        graph = self.model.graph
        made = {name for node in kept for name in node.output}
        noted = [item for item in graph.value_info if item.name in made]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(reversed(kept))
        graph.initializer.extend(item for name, item in self._constants.items() if name in needed)
        graph.value_info.extend(noted)
        self._constants = {name: item for name, item in self._constants.items() if name in needed}
        self._index()

    def _index(self) -> None:
        graph = self.model.graph
        self._outputs = {item.name for item in graph.output}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        noted = (*graph.value_info, *graph.input)
        self._shapes = {item.name: list(_dimensions(item)) for item in noted}
        self._kinds = {item.name: item.type.tensor_type.elem_type for item in noted}


def node(kind: str, inputs: Iterable[str], output: str, domain: str = "", **attributes: Any) -> NodeProto:
    """Return a node with one output, named after it."""
    return helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", domain=domain, **attributes)


def attributes(of: NodeProto) -> Mapping[str, Any]:
    """Return a node's attributes as Python values."""
    return {item.name: helper.get_attribute_value(item) for item in of.attribute}


def _dimensions(item: onnx.ValueInfoProto) -> Iterator[int | str]:
    for dimension in item.type.tensor_type.shape.dim:
        yield dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param
