"""Packed batches of a few fixed shapes, whose forward passes were captured as CUDA graphs, and are replayed.

A small model's forward pass is some hundred short kernels, which Python launches more slowly than a GPU runs them. A
graph launches all of them at once, with the same addresses and shapes: inputs are copied into its own tensor.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from secondpass.scoring.engines.packed import Shape

SMALLEST = 1024
"""Tokens of the smallest shape; each power of two is divided into four steps, so that at most a fifth is padding."""
LONGEST = 512
"""Tokens of the longest sequence in a captured batch: attention is launched for so many, however many there are."""
TOKENS_PER_SEQUENCE = 16
"""A shape has so many tokens for each of its sequences; batches of shorter ones take a larger shape."""

Compute = Callable[[torch.Tensor, Shape], torch.Tensor]
Capture = Callable[[Compute, torch.Tensor, Shape], tuple[Callable[[], object], torch.Tensor]]
"""Takes a function, its inputs' tensor and their shape; returns what runs it again, and its output's tensor."""

_logger = logging.getLogger("secondpass")


def fixed_shapes(max_tokens: int, longest: int) -> list[Shape]:
    """Return the shapes up to a number of tokens, largest first.

    :param max_tokens: The most tokens of a packed batch; the largest shape has as many.
    :param longest: The most tokens of one sequence.
    """
    sizes, size = {max_tokens}, SMALLEST
    while size < max_tokens:
        sizes |= {size * quarters // 4 for quarters in (4, 5, 6, 7)}
        size *= 2
    fitting = sorted((size for size in sizes if size <= max_tokens), reverse=True)
    return [Shape(tokens, max(1, tokens // TOKENS_PER_SEQUENCE), min(longest, LONGEST)) for tokens in fitting]


@dataclass(frozen=True, slots=True)
class _Graph:
    shape: Shape
    inputs: torch.Tensor
    replay: Callable[[], object]
    output: torch.Tensor


class Captured:
    """Computes packed batches, those that fit into a captured shape by replaying it.

    :param compute: Computes a packed batch.
    :param device: Its device.
    :param capture: Captures one shape; None for a device without graphs.
    :param failure: Why nothing is captured; empty while nothing has failed.
    """

    def __init__(self, compute: Compute, device: str, capture: Capture | None = None) -> None:
        self._compute = compute
        self._device = device
        self._capture = capture
        self._graphs: list[_Graph] = []
        self.failure = ""

    def __len__(self) -> int:
        """Return the number of captured shapes."""
        return len(self._graphs)

    def capture(self, shapes: Sequence[Shape]) -> None:
        """Capture shapes instead of those before; after a failure there are none, and batches are computed directly.

        :param shapes: Largest first: the others find their memory among what the largest has taken.
        """
        self._graphs, self.failure = [], ""
        if self._capture is None:
            return
        try:
            for shape in shapes:
                inputs = torch.zeros(shape.size, dtype=torch.int32, device=self._device)
                self._graphs.insert(0, _Graph(shape, inputs, *self._capture(self._compute, inputs, shape)))
        except RuntimeError as error:
            self.failure = f"{type(error).__name__}: {error!s:.200}"
        if self.failure:  # outside of the except block: the traceback in it keeps tensors alive
            self._graphs = []
            _logger.warning("CUDA graphs can't be captured on %s, kernels are launched one by one", self._device)

    def shape_for(self, shape: Shape) -> Shape:
        """Return the smallest captured shape that holds a batch, or the batch's own."""
        graph = self._graph_for(shape)
        return graph.shape if graph else shape

    def __call__(self, inputs: Any, shape: Shape) -> torch.Tensor:
        """Return a batch's outputs on the device, (sequences, labels), without waiting for them.

        :param inputs: What ``pack`` returns, for a shape from ``shape_for``.
        :param shape: That shape.
        """
        host = torch.from_numpy(inputs)
        graph = self._graph_for(shape)
        if self._device.startswith("cuda"):
            host = host.pin_memory()  # torch keeps it until the copy is done
        if graph is None or graph.shape != shape:
            return self._compute(host.to(self._device, non_blocking=True), shape)
        graph.inputs.copy_(host, non_blocking=True)
        graph.replay()
        return graph.output.clone()  # the next replay writes over it

    def _graph_for(self, shape: Shape) -> _Graph | None:
        for graph in self._graphs:
            own = graph.shape
            if shape.tokens <= own.tokens and shape.sequences <= own.sequences and shape.longest <= own.longest:
                return graph
        return None


def cuda_capture(device: str) -> Capture:
    """Return a function that captures CUDA graphs, all in one pool of memory: they never run at the same time."""
    pool = torch.cuda.graph_pool_handle()

    def capture(compute: Compute, inputs: torch.Tensor, shape: Shape) -> tuple[Callable[[], object], torch.Tensor]:
        with torch.cuda.device(device):
            stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                compute(inputs, shape)  # libraries choose their kernels in a first run
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                output = compute(inputs, shape)
        return graph.replay, output

    return capture
