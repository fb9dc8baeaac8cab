"""Static int8 quantisation: linear layers and embedding tables, with scales that don't depend on the batch.

A linear layer ``x @ weight + bias`` becomes: ``x`` divided by the balance of its channels, rounded to integers from 0
to 255, and multiplied with integer weights by ONNX Runtime's MatMulIntegerToFloat, which adds the bias as well.

The balance moves what is large in a channel's activations into its weights (Xiao et al. 2023, SmoothQuant: otherwise
one or two channels, ten times as large as the others, decide the scale of all). The bias corrects the mean error of
rounded weights (Nagel et al. 2019, Data-Free Quantization, section 4.2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper

from secondpass.optimize.graphs import MICROSOFT, Graph, node
from secondpass.scoring.devices import probe

Array = np.ndarray[Any, Any]

LARGEST_WEIGHT = 127
LARGEST_PAIR = 127
"""The largest sum of two neighbouring weights of a column. AVX2 adds two products of 8 bits in 16 bits and saturates:
255 * 128 fits, and rounding adds one at most. Processors with VNNI don't saturate, but scores should be the same
everywhere."""
_LEAST_SCALE = 1e-8  # for a channel that is always 0
_LEAST_ROWS = 64  # smaller embedding tables stay float
_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum")


@dataclass(slots=True)
class Channels:
    """Running statistics of one tensor, each an array (channels,).

    :param low: The smallest values, at most 0.
    :param high: The largest values, at least 0.
    :param total: The sums.
    :param tokens: How many tokens were summed up.
    """

    low: Array
    high: Array
    total: Array
    tokens: int = 0

    def update(self, low: Array, high: Array, total: Array, tokens: int) -> None:
        """Add the statistics of one batch."""
        self.low = np.minimum(self.low, low)
        self.high = np.maximum(self.high, high)
        self.total = self.total + total.astype(np.float64)
        self.tokens += tokens

    @property
    def mean(self) -> Array:
        """The mean of each channel."""
        return self.total / max(1, self.tokens)


def measure_activations(
    graph: Graph, names: Sequence[str], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Channels]:
    """Run a float graph and return the statistics of some of its tensors.

    The reductions are part of the graph, so that ONNX Runtime returns vectors (channels,) and never a whole tensor.

    :param graph: The graph; it isn't changed.
    :param names: The tensors, each (pairs, tokens, channels).
    :param batches: The graph's inputs, (pairs, tokens), without padding: no scale should be fitted to padding tokens.
    """
    measured = onnx.ModelProto()
    measured.CopyFrom(graph.model)
    axes = "activations/axes"
    measured.graph.initializer.append(helper.make_tensor(axes, TensorProto.INT64, [2], [0, 1]))
    reductions = [node(kind, [name, axes], f"{name}/{kind}", keepdims=0) for name in names for kind in _REDUCTIONS]
    measured.graph.node.extend(reductions)
    outputs = [reduction.output[0] for reduction in reductions]
    del measured.graph.output[:]
    measured.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = probe().cpus
    options.log_severity_level = 3  # hides warnings about the graph optimiser's own rewriting
    session = ort.InferenceSession(measured.SerializeToString(), options, providers=["CPUExecutionProvider"])
    channels: dict[str, Channels] = {}
    for batch in batches:
        tokens = next(iter(batch.values())).size
        results = iter(session.run(outputs, dict(batch)))
        for name, low, high, total in zip(names, results, results, results, strict=True):
            zeros = np.zeros_like(low)
            channels.setdefault(name, Channels(zeros, zeros, zeros)).update(low, high, total, tokens)
    return channels


def linear_inputs(graph: Graph) -> list[str]:
    """Return the tensors that are inputs of linear layers, each once."""
    return list(dict.fromkeys(item.input[0] for item in graph.nodes if _weight(graph, item) is not None))


def quantize_linears(graph: Graph, channels: Mapping[str, Channels], balance: float) -> None:
    """Make every linear layer over tokens an integer one.

    A Gemm, which works on one row for each pair, stays float: the head takes no time and decides the score.

    :param graph: The float graph; changed in place.
    :param channels: The statistics of each layer's input.
    :param balance: Which share of a large activation moves into the weights, 0 to 1.
    """
    layers: dict[str, list[NodeProto]] = {}
    for item in graph.nodes:
        if _weight(graph, item) is not None:
            layers.setdefault(item.input[0], []).append(item)
    inputs = {name: _Input(graph, name, channels[name], layers[name], balance) for name in layers}
    nodes: list[NodeProto] = []
    for item in graph.nodes:
        weight = _weight(graph, item)
        nodes += [item] if weight is None else inputs[item.input[0]].layer(item, weight)
    graph.replace(nodes)


def quantize_embeddings(graph: Graph) -> None:
    """Store each large embedding table as int8 with one scale for each row; rows become float when they are read."""
    nodes: list[NodeProto] = []
    for item in graph.nodes:
        table = graph.constant(item.input[0]) if item.op_type == "Gather" else None
        large = table is not None and table.ndim == 2 and table.dtype == np.float32 and len(table) >= _LEAST_ROWS
        nodes += _lookup(graph, item, table) if table is not None and large else [item]
    graph.replace(nodes)


def quantize_weight(weight: Array) -> tuple[Array, Array]:
    """Return a weight (in, out) as int8, and each column's scale, (out,).

    No weight is beyond 127, and no two neighbours (rows 0 and 1, 2 and 3, ...) add up to more than 128.
    """
    even = np.vstack([weight, np.zeros_like(weight[: len(weight) % 2])])
    pairs = even.reshape(-1, 2, weight.shape[1]).sum(axis=1)
    scale = np.maximum(np.abs(weight).max(axis=0) / LARGEST_WEIGHT, np.abs(pairs).max(axis=0) / LARGEST_PAIR)
    scale = np.maximum(scale, _LEAST_SCALE).astype(np.float32)
    return np.clip(np.round(weight / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), scale


class _Input:
    """The quantised input of one or more linear layers: its balance, its scale and its zero point."""

    def __init__(self, graph: Graph, name: str, channels: Channels, layers: list[NodeProto], balance: float) -> None:
        self._graph, self._name, self._mean = graph, name, channels.mean
        weights = [graph.constant(item.input[1]) for item in layers]
        largest = np.max([np.abs(weight).max(axis=1) for weight in weights if weight is not None], axis=0)
        reach = np.maximum(np.abs(channels.low), np.abs(channels.high))
        self._balance = np.maximum(reach, _LEAST_SCALE) ** balance / np.maximum(largest, _LEAST_SCALE) ** (1 - balance)
        low = min(0.0, float((channels.low / self._balance).min()))
        high = max(0.0, float((channels.high / self._balance).max()))
        scale = max((high - low) / 255, _LEAST_SCALE)
        self._scale = graph.add(f"{name}/scale", np.array(scale, dtype=np.float32))
        self._zero = graph.add(f"{name}/zero", np.array(np.clip(np.round(-low / scale), 0, 255), dtype=np.uint8))

    def layer(self, old: NodeProto, weight: Array) -> list[NodeProto]:
        """Return the nodes that replace one of the layers; those that quantise the input are the same for all."""
        name, add = self._name, self._graph.add
        balanced = weight * self._balance[:, None]
        integers, scales = quantize_weight(balanced)
        correction = (self._mean / self._balance) @ (balanced - integers * scales.astype(np.float64))
        output, bias = _bias(self._graph, old)
        share = add(f"{name}/balance", (1 / self._balance).astype(np.float32))
        quantized = [
            f"{name}/integers",
            add(f"{output}/weight", integers),
            self._scale,
            add(f"{output}/scales", scales),
        ]
        quantized += [self._zero, "", add(f"{output}/bias", (bias + correction).astype(np.float32))]
        return [
            node("Mul", [name, share], f"{name}/balanced"),
            node("QuantizeLinear", [f"{name}/balanced", self._scale, self._zero], f"{name}/integers"),
            node("MatMulIntegerToFloat", quantized, output, MICROSOFT),  # named after it: layers may share a weight
        ]


def _lookup(graph: Graph, old: NodeProto, table: Array) -> list[NodeProto]:
    """Return the nodes that look rows up in a table (rows, width)."""
    name, rows = old.input
    output = old.output[0]
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, np.float32(_LEAST_SCALE))
    integers = graph.add(f"{name}/integers", np.round(table / scales).astype(np.int8))
    return [
        node("Gather", [integers, rows], f"{output}/integers"),
        node("Gather", [graph.add(f"{name}/scales", scales), rows], f"{output}/scales"),
        node("Cast", [f"{output}/integers"], f"{output}/floats", to=TensorProto.FLOAT),
        node("Mul", [f"{output}/floats", f"{output}/scales"], output),
    ]


def _weight(graph: Graph, item: NodeProto) -> Array | None:
    """Return a linear layer's weight, (in, out), or None where the node is none."""
    weight = graph.constant(item.input[1]) if item.op_type == "MatMul" else None
    return weight if weight is not None and weight.ndim == 2 and weight.dtype == np.float32 else None


def _bias(graph: Graph, layer: NodeProto) -> tuple[str, Array]:
    """Return a layer's output, after the addition of its bias if it has one, and the bias."""
    for kind in ("Add", "Sum"):
        addition = graph.only_reader(layer.output[0], kind)
        for name in () if addition is None else addition.input:
            bias = graph.constant(name)
            if addition is not None and bias is not None and bias.ndim == 1:
                return addition.output[0], bias
    return layer.output[0], np.zeros(1)
