"""Activation statistics for calibration: each channel's range and mean over the inputs of the linear layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from secondpass.optimize.graphs import Graph
from secondpass.scoring.devices import probe

Array = np.ndarray[Any, Any]
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
    outputs = _add_reductions(measured.graph, names)
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


def _add_reductions(graph: onnx.GraphProto, names: Sequence[str]) -> list[str]:
    """Make the reductions of each tensor over pairs and tokens the graph's only outputs, and return their names."""
    axes = "activations/axes"
    graph.initializer.append(helper.make_tensor(axes, TensorProto.INT64, [2], [0, 1]))
    outputs = []
    for name in names:
        for kind in _REDUCTIONS:
            output = f"{name}/{kind}"
            graph.node.append(helper.make_node(kind, [name, axes], [output], keepdims=0))
            outputs.append(output)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    return outputs
