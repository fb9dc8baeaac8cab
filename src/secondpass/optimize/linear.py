"""Int8 linear layers whose activation scales are fixed beforehand, so that a score is free of its batch.

Before: ``x @ weight + bias``. After: ``x`` is divided by the balance of its channels, rounded to whole numbers from 0
to 255, and multiplied with whole weights by ONNX Runtime's MatMulIntegerToFloat, which adds the bias as well.

The balance moves what is large in a channel's activations into its weights (Xiao et al. 2023, SmoothQuant: one scale
for all channels would otherwise belong to the one or two that are ten times as large as the others). The bias takes
over what rounding the weights does to the mean (Nagel et al. 2019, Data-Free Quantization, section 4.2).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import NodeProto

from secondpass.optimize.activations import Channels
from secondpass.optimize.graphs import MICROSOFT, Graph, node

Array = np.ndarray[Any, Any]

LARGEST_WEIGHT = 127
LARGEST_PAIR = 127
"""What two neighbouring weights of a column may come to. AVX2 adds two products of 8 bits in 16 bits and saturates:
255 * 128 fits, and rounding adds one at most. Only processors without VNNI do this, but scores should be the same
everywhere."""
_LEAST = 1e-8  # stands in for the scale of a channel that is always 0


def linear_inputs(graph: Graph) -> list[str]:
    """Return the tensors that go into linear layers, each once."""
    return list(dict.fromkeys(one.input[0] for one in graph.nodes if _weight(graph, one) is not None))


def quantise_linears(graph: Graph, channels: Mapping[str, Channels], balance: float) -> None:
    """Make every linear layer over tokens one of whole numbers.

    A Gemm, which works on one row a pair, stays as it is: the head costs nothing and decides everything.

    :param graph: The float graph; changed in place.
    :param channels: The statistics of each layer's input.
    :param balance: How much of a large activation the weights take over, 0 to 1.
    """
    layers: dict[str, list[NodeProto]] = {}
    for one in graph.nodes:
        if _weight(graph, one) is not None:
            layers.setdefault(one.input[0], []).append(one)
    inputs = {name: _Input(graph, name, channels[name], layers[name], balance) for name in layers}
    nodes: list[NodeProto] = []
    made: set[str] = set()
    for one in graph.nodes:
        new = inputs[one.input[0]].layer(one) if _weight(graph, one) is not None else [one]
        nodes += [each for each in new if each.output[0] not in made]  # layers share their input, an addition is spared
        made.update(each.output[0] for each in new)
    graph.replace(nodes)


def quantise_weight(weight: Array) -> tuple[Array, Array]:
    """Return a weight (in, out) as int8, and each column's scale, (out,).

    No weight is beyond 127, and no two neighbours (rows 0 and 1, 2 and 3, ...) come to more than 128 together.
    """
    even = np.vstack([weight, np.zeros_like(weight[: len(weight) % 2])])
    pairs = even.reshape(-1, 2, weight.shape[1]).sum(axis=1)
    scale = np.maximum(np.abs(weight).max(axis=0) / LARGEST_WEIGHT, np.abs(pairs).max(axis=0) / LARGEST_PAIR)
    scale = np.maximum(scale, _LEAST).astype(np.float32)
    return np.clip(np.round(weight / scale), -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), scale


class _Input:
    """What goes into one or more linear layers: its balance, its scale and its zero point."""

    def __init__(self, graph: Graph, name: str, channels: Channels, layers: list[NodeProto], balance: float) -> None:
        self._graph, self._name = graph, name
        self._mean = channels.mean
        weights = [graph.constant(one.input[1]) for one in layers]
        largest = np.max([np.abs(weight).max(axis=1) for weight in weights if weight is not None], axis=0)
        reach = np.maximum(np.abs(channels.low), np.abs(channels.high))
        self._balance = np.maximum(reach, _LEAST) ** balance / np.maximum(largest, _LEAST) ** (1 - balance)
        low = min(0.0, float((channels.low / self._balance).min()))
        high = max(0.0, float((channels.high / self._balance).max()))
        scale = max((high - low) / 255, _LEAST)
        self._scale = graph.add(f"{name}/scale", np.array(scale, dtype=np.float32))
        self._zero = graph.add(f"{name}/zero", np.array(np.clip(np.round(-low / scale), 0, 255), dtype=np.uint8))

    def layer(self, old: NodeProto) -> list[NodeProto]:
        """Return the nodes for one of the layers."""
        weight = _weight(self._graph, old)
        if weight is None:
            return [old]
        balanced = weight * self._balance[:, None]
        whole, scales = quantise_weight(balanced)
        lost = (self._mean / self._balance) @ (balanced - whole * scales.astype(np.float64))
        output, bias = _bias(self._graph, old)
        add = self._graph.add  # named after the output: layers may share a weight, and not its balance
        inputs = [f"{self._name}/whole", add(f"{output}/weight", whole), self._scale, add(f"{output}/scales", scales)]
        inputs += [self._zero, "", add(f"{output}/bias", (bias + lost).astype(np.float32))]
        return [*self._whole(), node("MatMulIntegerToFloat", inputs, output, MICROSOFT)]

    def _whole(self) -> list[NodeProto]:
        name = self._name
        share = self._graph.add(f"{name}/balance", (1 / self._balance).astype(np.float32))
        return [
            node("Mul", [name, share], f"{name}/balanced"),
            node("QuantizeLinear", [f"{name}/balanced", self._scale, self._zero], f"{name}/whole"),
        ]


def _weight(graph: Graph, one: NodeProto) -> Array | None:
    """Return a linear layer's weight, (in, out), or None where the node is none."""
    weight = graph.constant(one.input[1]) if one.op_type == "MatMul" else None
    return weight if weight is not None and weight.ndim == 2 and weight.dtype == np.float32 else None


def _bias(graph: Graph, layer: NodeProto) -> tuple[str, Array]:
    """Return the tensor that a layer makes, after the addition of its bias if it has one, and the bias."""
    output = layer.output[0]
    nothing = np.zeros(1)
    for kind in ("Add", "Sum"):
        add = graph.only_reader(output, kind)
        for name in () if add is None else add.input:
            bias = graph.constant(name)
            if add is not None and bias is not None and bias.ndim == 1:
                return add.output[0], bias
    return output, nothing
