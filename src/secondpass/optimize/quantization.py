"""Static int8 quantisation: linear layers and embedding tables, with scales that don't depend on the batch.

A linear layer ``x @ weight + bias`` becomes: ``x`` divided by the balance of its channels, rounded to integers from 0
to 255, and multiplied with integer weights by ONNX Runtime's MatMulIntegerToFloat, which adds the bias as well.

The balance moves what is large in a channel's activations into its weights (Xiao et al. 2023, SmoothQuant: otherwise
one or two channels, ten times as large as the others, decide the scale of all). The bias corrects the mean error of
rounded weights (Nagel et al. 2019, Data-Free Quantization, section 4.2).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from secondpass.errors import ModelError
from secondpass.models.hardware import cpu_count
from secondpass.optimize.graphs import MICROSOFT, Graph, node

Array = np.ndarray[Any, Any]

LARGEST_WEIGHT = 127
LARGEST_PAIR = 127
"""The largest sum of two neighbouring weights of a column. AVX2 adds two products of 8 bits in 16 bits and saturates:
255 * 128 fits, and rounding adds one at most. Processors with VNNI don't saturate, but scores should be the same
everywhere."""
_LEAST_SCALE = 1e-8  # for a channel that is always 0
_LEAST_ROWS = 64  # smaller embedding tables stay float
_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum")


class Channels(NamedTuple):
    """Statistics of a tensor's channels over all tokens, (channels,) each."""

    low: Array
    high: Array
    mean: Array


def measure_activations(
    graph: Graph, names: Sequence[str], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Channels]:
    """Run a float graph and return the statistics of some of its tensors.

    The reductions are part of the graph, so that ONNX Runtime returns vectors (channels,) and never a whole tensor.

    :param graph: The graph; it isn't changed.
    :param names: The tensors, each (pairs, tokens, channels).
    :param batches: The graph's inputs, (pairs, tokens), without padding: no scale should be fitted to padding tokens.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    axes = numpy_helper.from_array(np.array([0, 1], dtype=np.int64), "activations/axes")
    nodes: list[NodeProto] = []
    for name in names:
        nodes += [node(kind, [name, axes.name], f"{name}/{kind}", keepdims=0) for kind in _REDUCTIONS]
        nodes.append(node("Shape", [name], f"{name}/shape"))  # the last layer's tensors may have the first token alone
    outputs = [item.output[0] for item in nodes]
    model.graph.initializer.append(axes)
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = cpu_count()
    options.log_severity_level = 3  # hides warnings about the graph optimiser's own rewriting
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums: dict[str, Channels] = {}
    tokens = dict.fromkeys(names, 0)
    for batch in batches:
        results = iter(session.run(outputs, dict(batch)))
        for name, low, high, total, shape in zip(names, results, results, results, results, strict=True):
            old = sums.get(name, Channels(low, high, np.zeros(len(total))))
            sums[name] = Channels(np.minimum(old.low, low), np.maximum(old.high, high), old.mean + total)
            tokens[name] += int(shape[0] * shape[1])
    return {name: Channels(item.low, item.high, item.mean / tokens[name]) for name, item in sums.items()}


def linear_layers(graph: Graph) -> dict[str, list[NodeProto]]:
    """Return the linear layers over tokens by the tensor that they read.

    A Gemm, which works on one row for each pair, is none of them: the head takes no time and decides the score.
    """
    layers: dict[str, list[NodeProto]] = {}
    for item in graph.nodes:
        weight = graph.constant(item.input[1]) if item.op_type == "MatMul" else None
        if weight is not None and weight.ndim == 2 and weight.dtype == np.float32:
            layers.setdefault(item.input[0], []).append(item)
    return layers


def quantize(graph: Graph, batches: Iterable[Mapping[str, Array]], balance: float) -> None:
    """Make linear layers and large embedding tables int8, in place.

    :param graph: The float graph.
    :param batches: Its inputs to calibrate on; see ``measure_activations``.
    :param balance: Which share of a large activation moves into the weights, 0 to 1.
    :raises ModelError: If the graph has no linear layers.
    """
    layers = linear_layers(graph)
    if not layers:
        raise ModelError("the model must have linear layers that could be int8, and has none")
    channels = measure_activations(graph, list(layers), batches)
    integers: dict[str, list[NodeProto]] = {}
    for name, items in layers.items():
        integers |= _integer_layers(graph, name, items, channels[name], balance)
    graph.rewrite(lambda old: integers.get(old.output[0]) or _integer_lookup(graph, old))


def quantize_weight(weight: Array) -> tuple[Array, Array]:
    """Return a weight (in, out) as int8, and each column's scale, (out,).

    No weight is beyond 127, and no two neighbours (rows 0 and 1, 2 and 3, ...) add up to more than 128.
    """
    even = np.vstack([weight, np.zeros_like(weight[: len(weight) % 2])])
    pairs = even.reshape(-1, 2, weight.shape[1]).sum(axis=1)
    scale = np.maximum(np.abs(weight).max(axis=0) / LARGEST_WEIGHT, np.abs(pairs).max(axis=0) / LARGEST_PAIR)
    scale = np.maximum(scale, _LEAST_SCALE).astype(np.float32)
    return np.clip(np.round(weight / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), scale


def _integer_layers(
    graph: Graph, name: str, layers: Sequence[NodeProto], channels: Channels, balance: float
) -> dict[str, list[NodeProto]]:
    """Return the nodes that replace the layers that read one tensor, by their outputs.

    The nodes that quantise the tensor are the same for all layers; weights that layers share are balanced for each.
    """
    weights = [np.asarray(graph.constant(layer.input[1])) for layer in layers]
    largest = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    reach = np.maximum(np.abs(channels.low), np.abs(channels.high))
    balances = np.maximum(reach, _LEAST_SCALE) ** balance / np.maximum(largest, _LEAST_SCALE) ** (1 - balance)
    low = min(0.0, float((channels.low / balances).min()))
    high = max(0.0, float((channels.high / balances).max()))
    step = max((high - low) / 255, _LEAST_SCALE)
    scale = graph.add(f"{name}/scale", np.array(step, dtype=np.float32))
    zero = graph.add(f"{name}/zero", np.array(np.clip(np.round(-low / step), 0, 255), dtype=np.uint8))
    share = graph.add(f"{name}/balance", (1 / balances).astype(np.float32))
    input_nodes = [
        node("Mul", [name, share], f"{name}/balanced"),
        node("QuantizeLinear", [f"{name}/balanced", scale, zero], f"{name}/integers"),
    ]
    replacements = {}
    for layer, weight in zip(layers, weights, strict=True):
        balanced = weight * balances[:, None]
        integers, scales = quantize_weight(balanced)
        correction = (channels.mean / balances) @ (balanced - integers * scales.astype(np.float64))
        output, bias = _bias(graph, layer)
        inputs = [f"{name}/integers", graph.add(f"{output}/weight", integers), scale]
        inputs += [graph.add(f"{output}/scales", scales), zero, ""]
        inputs.append(graph.add(f"{output}/bias", (bias + correction).astype(np.float32)))
        replacements[layer.output[0]] = [*input_nodes, node("MatMulIntegerToFloat", inputs, output, MICROSOFT)]
    return replacements


def _integer_lookup(graph: Graph, old: NodeProto) -> list[NodeProto] | None:
    """Return the nodes for a lookup in a large table, made int8 with one scale for each row."""
    table = graph.constant(old.input[0]) if old.op_type == "Gather" else None
    if table is None or table.ndim != 2 or table.dtype != np.float32 or len(table) < _LEAST_ROWS:
        return None
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


def _bias(graph: Graph, layer: NodeProto) -> tuple[str, Array]:
    """Return a layer's output, after the addition of its bias if it has one, and the bias."""
    for kind in ("Add", "Sum"):
        addition = graph.only_reader(layer.output[0], kind)
        for name in () if addition is None else addition.input:
            bias = graph.constant(name)
            if addition is not None and bias is not None and bias.ndim == 1:
                return addition.output[0], bias
    return layer.output[0], np.zeros(1)
