"""Jobs of a worker: tokenised pairs of one call, and the forward passes in which they are scored."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from secondpass.errors import OutOfMemory
from secondpass.records import Call, UnscoredReason
from secondpass.scoring.batching import BatchLimits, plan_batches
from secondpass.scoring.engine import Encoded, Engine

DEADLINE_BLOCK = 8
"""Pairs in a block. With a deadline, blocks are scored in first-stage order, so that its best come first."""


@dataclass(slots=True, eq=False)
class Job:
    """Tokenised pairs to be scored by one engine for one call, and their results so far.

    The worker fills the results batch by batch; the caller may read them at any time.

    :param engine: The engine.
    :param encoded: The tokenised pairs.
    :param call: Deadline and cancellation, checked between batches.
    :param rows: The raw outputs of each pair, None while there are none, in the order of the pairs.
    :param done: Resolved when the worker is done with the job; holds the engine's exception if it failed.
    :param stopped: Why the worker stopped before the last pair; None otherwise.
    :param queued_at: When it was created, by ``time.perf_counter``.
    :param started_at: When its first batch started; None before.
    :param seconds: Seconds of the forward passes that it took part in.
    :param batches: Forward passes that succeeded.
    :param merged: Those of them that were shared with other calls.
    :param padded: Its tokens in these batches, padding included.
    :param halved: Batches that were halved because they did not fit into memory.
    """

    engine: Engine
    encoded: Sequence[Encoded]
    call: Call
    rows: list[list[float] | None] = field(init=False)
    done: "Future[None]" = field(default_factory=Future)
    stopped: UnscoredReason | None = None
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float | None = None
    seconds: float = 0.0
    batches: int = 0
    merged: int = 0
    padded: int = 0
    halved: int = 0
    plan: deque[list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Plan the batches."""
        self.rows = [None] * len(self.encoded)
        block = None if self.call.deadline is None else DEADLINE_BLOCK
        self.plan = deque(plan_batches([item.length for item in self.encoded], self.limits, block))

    @property
    def limits(self) -> BatchLimits:
        """The limits of the engine's batches."""
        return self.engine.facts.placement.limits

    @property
    def waited(self) -> float:
        """Seconds in the queue."""
        return (self.started_at or time.perf_counter()) - self.queued_at

    def padded_tokens(self, batch: Sequence[int]) -> int:
        """Return the tokens of a batch of its own, padding included; at least one a pair."""
        return self.limits.tokens([self.encoded[position].length for position in batch])


Part = tuple[Job, list[int]]
"""A job and the positions of its pairs in a batch."""


def run_batch(parts: Sequence[Part]) -> dict[Job, BaseException]:
    """Run a batch, and return the exception of each job that failed; parts that failed together run again alone."""
    error = _attempt(parts)
    if error is None:
        return {}
    if len(parts) == 1:
        return {parts[0][0]: error}
    del error  # its traceback keeps the failed batch's tensors alive
    return {job: own for part in parts for job, own in run_batch([part]).items()}


def _attempt(parts: Sequence[Part]) -> BaseException | None:
    try:
        _halving([(job, position) for job, batch in parts for position in batch])
    except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
        return error
    return None


def _halving(items: list[tuple[Job, int]]) -> None:
    """Run pairs in one forward pass; what does not fit into memory is halved, down to a single pair."""
    engine, rows = items[0][0].engine, None
    encoded = [job.encoded[position] for job, position in items]
    try:
        rows = engine.forward(encoded)
    except OutOfMemory:
        if len(items) == 1:
            raise
    if rows is None:  # outside of the except block: the traceback in it keeps the failed batch's tensors alive
        for job in {job for job, _ in items}:
            job.halved += 1
        middle = -(-len(items) // 2)
        _halving(items[:middle])
        _halving(items[middle:])
        return
    for job in {job for job, _ in items}:
        job.batches += 1
    limits, longest = items[0][0].limits, max(item.length for item in encoded)
    for (job, position), row in zip(items, rows, strict=True):
        job.rows[position] = row
        job.padded += job.encoded[position].length if limits.packed else limits.padded(longest)
