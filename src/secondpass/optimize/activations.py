"""What goes into the linear layers: the range and the mean of each channel, over the calibration pairs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from secondpass.optimize.graphs import Graph

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Channels:
    """What was seen of a tensor, channel by channel, each an array (channels,).

    :param low: The least values.
    :param high: The largest values.
    :param total: The sums.
    :param count: The tokens behind them.
    """

    low: Array
    high: Array
    total: Array
    count: int = 0

    def see(self, values: Array) -> None:
        """Take in some tokens' values, (..., channels)."""
        tokens = values.reshape(-1, values.shape[-1])
        self.low = np.minimum(self.low, tokens.min(axis=0))
        self.high = np.maximum(self.high, tokens.max(axis=0))
        self.total = self.total + tokens.sum(axis=0, dtype=np.float64)
        self.count += len(tokens)

    @property
    def mean(self) -> Array:
        """The mean of each channel."""
        return self.total / max(1, self.count)


def watch(graph: Graph, names: Sequence[str], feeds: Iterable[Mapping[str, Array]]) -> dict[str, Channels]:
    """Run a float graph and note what it makes.

    :param graph: The graph.
    :param names: The tensors to look at, each (pairs, tokens, channels).
    :param feeds: Inputs without padding, which is nothing that a scale should fit: one pair at a time.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(graph.model)
    outside = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    watched.graph.output.extend(outside)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # its warnings are about its own graph rewriting
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen: dict[str, Channels] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(list(names), dict(feed)), strict=True):
            nothing = np.zeros(values.shape[-1])
            seen.setdefault(name, Channels(nothing, nothing, nothing)).see(values)
    return seen
