"""Properties of an ONNX graph, read with protobuf alone: the base install has no onnx package.

Only the needed fields are declared; protobuf skips the others, the weights among them.
Field numbers: the ONNX project's `onnx.proto`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from secondpass.errors import ModelError

_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
_INTEGER = {"MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "QGemm", "QAttention", "MatMulNBits"}
_QUANTISED = _DYNAMIC | _INTEGER | {"DequantizeLinear"}
_SQUASHES = {"Sigmoid": "sigmoid", "Softmax": "softmax"}
_RESHAPES = {"Squeeze", "Unsqueeze", "Identity", "Flatten", "Reshape", "Cast"}


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Properties of a graph.

    :param dynamic: Whether activation scales are computed from each batch, so that scores depend on the batch.
    :param quantised: Whether weights are integers.
    :param squashed_by: ``"sigmoid"`` or ``"softmax"`` where the graph ends in one, else empty.
    :param external: Where weights outside of the file are, relative to its folder.
    """

    dynamic: bool
    quantised: bool
    squashed_by: str
    external: frozenset[str] = frozenset()


def read_graph(path: Path, output: str) -> GraphFacts:
    """Read an ONNX file.

    :param path: The ``.onnx`` file.
    :param output: The output that holds the scores.
    :raises ModelError: If the file isn't an ONNX model.
    """
    model = _model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelError(f"{path.name} in {path.parent} must be an ONNX model, and can't be read as one") from error
    kinds = {node.op_type for node in model.graph.node}
    makers = {name: node for node in model.graph.node for name in node.output}
    external = frozenset(_external(model.graph))
    return GraphFacts(bool(kinds & _DYNAMIC), bool(kinds & _QUANTISED), _squashed_by(makers, output), external)


def _external(graph: Any) -> Iterator[str]:
    """Yield where the external data of a graph and of the graphs in it are."""
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    for tensor in (*graph.initializer, *(attribute.t for attribute in attributes)):
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")
    for attribute in attributes:
        if attribute.HasField("g"):
            yield from _external(attribute.g)


def _squashed_by(makers: dict[str, Any], output: str) -> str:
    node = makers.get(output)
    while node is not None and node.op_type in _RESHAPES and node.input:
        node = makers.get(node.input[0])
    return "" if node is None else _SQUASHES.get(node.op_type, "")


def _model_class() -> Any:
    """Declare nodes, external data of initializers and attributes, and the graphs inside of attributes."""
    file = descriptor_pb2.FileDescriptorProto(name="secondpass_onnx.proto", package="secondpass_onnx", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in {
        "Entry": [("key", 1, False, ""), ("value", 2, False, "")],
        "Tensor": [("external_data", 13, True, "Entry")],
        "Attribute": [("t", 5, False, "Tensor"), ("g", 6, False, "Graph")],
        "Node": [
            ("input", 1, True, ""),
            ("output", 2, True, ""),
            ("op_type", 4, False, ""),
            ("attribute", 5, True, "Attribute"),
        ],
        "Graph": [("node", 1, True, "Node"), ("initializer", 5, True, "Tensor")],
        "Model": [("graph", 7, False, "Graph")],
    }.items():
        declared = file.message_type.add(name=message)
        for name, number, repeated, nested in fields:
            declared.field.add(
                name=name,
                number=number,
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
                type=kinds.TYPE_MESSAGE if nested else kinds.TYPE_STRING,
                type_name=f".secondpass_onnx.{nested}" if nested else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("secondpass_onnx.Model"))
