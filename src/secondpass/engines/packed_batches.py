"""Splits pairs into packed batches by the device's memory, and keeps the device busy with them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from secondpass.engines.packed import Shape, pack
from secondpass.models.hardware import token_budget
from secondpass.scoring.engine import Encoded

MEASURED = (2048, 6144)
"""Tokens of the two batches from which the memory of a token is measured."""
Compute = Callable[[torch.Tensor, Shape], torch.Tensor]
"""From the inputs of a packed batch on the device, and their shape, to its outputs, (sequences, labels)."""
RECOVERY = 100
"""Calls without an error after which batches are doubled again: what took the memory may be gone."""
_TYPICAL = 128  # tokens of a sequence in them


class Memory(Protocol):
    """Measures a device's memory."""

    def free(self) -> int:
        """Return the bytes that this process can still take."""
        ...

    def peak(self, run: Callable[[], object]) -> int:
        """Run a function, and return the most bytes that were taken at one time."""
        ...


class CudaMemory:
    """The memory of a CUDA device.

    :param device: Its name.
    """

    def __init__(self, device: str) -> None:
        self._device = device

    def free(self) -> int:
        """Return free bytes: those of the device, and those that torch keeps for later."""
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return torch.cuda.mem_get_info(self._device)[0] + kept

    def peak(self, run: Callable[[], object]) -> int:
        """Run a function, and return the most bytes that were allocated at one time."""
        torch.cuda.reset_peak_memory_stats(self._device)
        run()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device)


class PackedBatches:
    """Computes pairs in packed batches, one started after the other; only the end waits for the device.

    While the device computes a batch, the next one is put together and copied.

    :param compute: Computes one packed batch.
    :param device: Its device.
    :param budget: Tokens of a batch at most, while there is enough memory; a longer sequence is a batch of its own.
    :param first_position: The position of each sequence's first token.
    """

    def __init__(self, compute: Compute, device: str, budget: int, first_position: int = 0) -> None:
        self._compute = compute
        self._device = device
        self._first_position = first_position
        self._most = self.budget = budget
        self._calls = 0  # without an error, since the budget was changed

    def __call__(self, pairs: Sequence[Encoded]) -> torch.Tensor:
        """Return the raw outputs in float32 on the CPU, (pairs, labels)."""
        started = [self._start(batch) for batch in self._split(pairs)]
        outputs = torch.cat(started).float().cpu()
        self._calls += 1
        if self._calls >= RECOVERY and self.budget < self._most:
            self._calls, self.budget = 0, min(self._most, 2 * self.budget)
        return outputs

    def shrink(self, pairs: Sequence[Encoded]) -> None:
        """Halve the batches from now on, after one of these pairs' didn't fit into memory."""
        largest = max(sum(pair.length for pair in batch) for batch in self._split(pairs))
        self._calls, self.budget = 0, max(1, min(self.budget, largest) // 2)

    def measure(self, memory: Memory, longest: int) -> None:
        """Set the budget from the free memory and the bytes that a token takes.

        :param memory: Measures the device.
        :param longest: The most tokens of one sequence.
        """
        self.budget = max(self.budget, MEASURED[1])
        self(_sequences(MEASURED[1], longest))  # takes what is taken once
        small, large = (memory.peak(partial(self, _sequences(tokens, longest))) for tokens in MEASURED)
        self._most = self.budget = token_budget(memory.free(), (large - small) / (MEASURED[1] - MEASURED[0]))

    def _split(self, pairs: Sequence[Encoded]) -> Iterator[list[Encoded]]:
        batch: list[Encoded] = []
        tokens = 0
        for pair in pairs:
            if batch and tokens + pair.length > self.budget:
                yield batch
                batch, tokens = [], 0
            batch.append(pair)
            tokens += pair.length
        yield batch

    def _start(self, batch: list[Encoded]) -> torch.Tensor:
        inputs = torch.from_numpy(pack(batch, self._first_position))
        if self._device.startswith("cuda"):
            inputs = inputs.pin_memory()  # torch keeps it until the copy is done
        return self._compute(inputs.to(self._device, non_blocking=True), Shape.of(batch))


def _sequences(tokens: int, longest: int) -> list[Encoded]:
    length = min(_TYPICAL, longest)
    features: dict[str, Any] = {"input_ids": np.zeros(length, dtype=np.int32)}
    return [Encoded(length, 0, features)] * (tokens // length)
