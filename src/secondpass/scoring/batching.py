"""Batch planning: pairs of similar length, limited by padded or packed tokens, longest first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a batch.

    :param max_tokens: Padded tokens, rows times the longest row; of packed batches the sum of the rows. A single longer
        pair is still a batch.
    :param max_rows: Pairs; None for no limit.
    :param length_step: Lengths are rounded up to a multiple of this, for devices that compile for each shape.
    :param packed: Whether rows lie end to end, without padding.
    """

    max_tokens: int
    max_rows: int | None = None
    length_step: int = 1
    packed: bool = False

    def padded(self, length: int) -> int:
        """Return the padded length of a row of this many tokens."""
        return -(-length // self.length_step) * self.length_step

    def tokens(self, lengths: Sequence[int]) -> int:
        """Return the tokens of a batch of rows, padding included; at least one a row."""
        if self.packed:
            return sum(max(1, length) for length in lengths)
        return len(lengths) * max(1, self.padded(max(lengths)))


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
        longest = max(1, limits.padded(lengths[order[start]]))
        rows, tokens = 0, 0
        for position in order[start : start + (limits.max_rows or len(order))]:
            tokens += max(1, lengths[position]) if limits.packed else longest
            if rows and tokens > limits.max_tokens:
                break
            rows += 1
        yield list(order[start : start + rows])
        start += rows
