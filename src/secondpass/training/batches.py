"""Batches of training data, filled by tokens."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler

_WINDOW = 1024  # rows that are sorted by length together: little padding, and still a random order


class TokenBatchSampler(DefaultBatchSampler):
    """Draws batches under a ceiling of padded tokens, the same ones for the same seed, in a new order each epoch.

    Which rows share a batch stays fixed, so that every epoch has the same number of steps, and a run that was killed
    goes on with exactly what it had not seen.

    :param dataset: The rows; only the trainer reads them.
    :param lengths: For each row its longest pair in tokens.
    :param sizes: For each row its number of pairs.
    :param ceiling: Padded tokens in a batch; a row that is larger makes a batch of its own.
    :param seed: Of the order.
    :param world: How many devices share the batches; all get the same number, and the remainder is left out.
    """

    def __init__(
        self, dataset: Any, *, lengths: Sequence[int], sizes: Sequence[int], ceiling: int, seed: int, world: int = 1
    ) -> None:
        super().__init__(dataset, batch_size=1, drop_last=False, seed=seed)
        self.batch_size = None  # they differ: with a number here, sharding would drop batches of any other size
        rows = list(range(len(lengths)))
        random.Random(seed).shuffle(rows)
        self._batches = [
            batch
            for start in range(0, len(rows), _WINDOW)
            for batch in _fill(rows[start : start + _WINDOW], lengths, sizes, ceiling)
        ]
        whole = len(self._batches) // world * world
        self._batches = random.Random(seed).sample(self._batches, whole)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches in this epoch's order."""
        yield from random.Random(f"{self.seed} {self.epoch}").sample(self._batches, len(self._batches))

    def __len__(self) -> int:
        """Return the number of batches, which is the same in every epoch."""
        return len(self._batches)


def _fill(rows: Sequence[int], lengths: Sequence[int], sizes: Sequence[int], ceiling: int) -> Iterator[list[int]]:
    batch: list[int] = []
    pairs = longest = 0
    for row in sorted(rows, key=lambda row: -lengths[row]):
        if batch and (pairs + sizes[row]) * longest > ceiling:
            yield batch
            batch, pairs = [], 0
        longest = longest if batch else lengths[row]
        batch.append(row)
        pairs += sizes[row]
    if batch:
        yield batch
