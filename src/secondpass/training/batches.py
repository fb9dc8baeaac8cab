"""Batches of training data: rows of similar length, under a ceiling of padded tokens."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler

from secondpass.training.data import Row

_WINDOW = 1024  # rows that are sorted by length together: little padding, and still a random order


class TokenBatchSampler(DefaultBatchSampler):
    """Draws batches under a ceiling of padded tokens, the same ones for the same seed, in a new order each epoch.

    Which rows share a batch stays fixed, so that every epoch has the same number of steps, and a resumed run
    continues with exactly the batches that are left.

    :param dataset: The rows as the trainer reads them.
    :param rows: The rows' lengths and sizes.
    :param ceiling: Padded tokens in a batch; a row that is larger makes a batch of its own.
    :param seed: Of the order.
    :param world: How many devices share the batches; all get the same number, and the remainder is left out.
    """

    def __init__(self, dataset: Any, rows: Sequence[Row], *, ceiling: int, seed: int, world: int = 1) -> None:
        super().__init__(dataset, batch_size=1, drop_last=False, seed=seed)
        self.batch_size = None  # they differ: with a number here, sharding would drop batches of any other size
        order = list(range(len(rows)))
        random.Random(seed).shuffle(order)
        windows = (order[start : start + _WINDOW] for start in range(0, len(order), _WINDOW))
        batches = [batch for window in windows for batch in _fill(window, rows, ceiling)]
        self._batches = random.Random(seed).sample(batches, len(batches) // world * world)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches in this epoch's order."""
        yield from random.Random(f"{self.seed} {self.epoch}").sample(self._batches, len(self._batches))

    def __len__(self) -> int:
        """Return the number of batches, which is the same in every epoch."""
        return len(self._batches)


def _fill(window: Sequence[int], rows: Sequence[Row], ceiling: int) -> Iterator[list[int]]:
    batch: list[int] = []
    pairs = longest = 0
    for number in sorted(window, key=lambda number: -rows[number].length):
        size = len(rows[number].positions)
        if batch and (pairs + size) * longest > ceiling:
            yield batch
            batch, pairs = [], 0
        longest = longest if batch else rows[number].length
        batch.append(number)
        pairs += size
    if batch:
        yield batch
