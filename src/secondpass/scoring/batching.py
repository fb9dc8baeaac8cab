"""Batch planning: pairs of similar length, limited by padded tokens, longest first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a batch.

    :param max_tokens: Padded tokens, rows times the longest row; a single longer pair is still a batch.
    :param max_rows: Pairs; None for no limit.
    :param length_step: Lengths are rounded up to a multiple of this, for devices that compile for each shape.
    """

    max_tokens: int
    max_rows: int | None = None
    length_step: int = 1

    def padded(self, length: int) -> int:
        """Return the padded length of a row of this many tokens."""
        return -(-length // self.length_step) * self.length_step


def plan_batches(lengths: Sequence[int], limits: BatchLimits, block: int | None = None) -> Iterator[list[int]]:
    """Yield batches of positions, each position once.

    :param lengths: The tokens of each pair.
    :param limits: The limits.
    :param block: With a block size, pairs are taken in blocks in their own order and sorted only inside each, so that
        a pass that is cut short has done the first pairs first. Without one, the longest of all come first, so
        that a batch too large for the memory is the first one.
    """
    size = block or max(1, len(lengths))
    for start in range(0, len(lengths), size):
        positions = range(start, min(start + size, len(lengths)))
        yield from _fill(sorted(positions, key=lambda position: -lengths[position]), lengths, limits)


def _fill(order: Sequence[int], lengths: Sequence[int], limits: BatchLimits) -> Iterator[list[int]]:
    start = 0
    while start < len(order):
        rows = max(1, limits.max_tokens // max(1, limits.padded(lengths[order[start]])))
        rows = min(rows, limits.max_rows or rows)
        yield list(order[start : start + rows])
        start += rows
