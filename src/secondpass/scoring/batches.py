"""Batches: their limits, the jobs of calls from which they are filled, the order of turns, and the forward pass.

Calls take turns by batches, so that a short call isn't behind a long one, and the next batches of several calls of one
engine are merged where they fit into one.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from secondpass.errors import OutOfMemory
from secondpass.records import Call, UnscoredReason
from secondpass.scoring.engine import BatchLimits, Encoded, Engine

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


MERGING_WASTE = 1.25
"""The maximum ratio of a merged batch's padded tokens to those of the calls' own batches."""
_SMOOTHING = 0.3  # of the moving averages of what a token and a batch cost


class BatchScheduler:
    """The jobs that wait, in the order of their turns, and what earlier batches cost. Not safe across threads.

    A job is outside while its batch is planned and runs, so that after an error it is known whose batch it was.

    :param token_seconds: Seconds of a padded token, by the engine's fingerprint.
    :param batch_seconds: Seconds of a batch.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self.token_seconds: dict[str, float] = {}
        self.batch_seconds = 0.0

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        """Return whether a job waits."""
        return job in self._jobs

    @property
    def pairs(self) -> int:
        """How many pairs wait."""
        return sum(len(batch) for job in self._jobs for batch in job.plan)

    @property
    def seconds_ahead(self) -> float:
        """How long a new job waits for its turn, at least: calls that may be merged are one batch."""
        batches = {id(job.engine if _may_be_merged(job) else job) for job in self._jobs}
        return len(batches) * self.batch_seconds

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        self._jobs.append(job)

    def remove(self, job: Job) -> None:
        """Take a job out.

        :raises ValueError: If it doesn't wait.
        """
        self._jobs.remove(job)

    def take_stopped(self) -> list[Job]:
        """Take out the jobs whose calls have been cancelled, or have come to their deadline."""
        stopped: list[Job] = []
        for _ in range(len(self._jobs)):
            job = self._jobs.popleft()
            job.stopped = job.call.stop_reason()
            (stopped if job.stopped else self._jobs).append(job)
        return stopped

    def next_batch(self) -> list[Part]:
        """Take out the job whose turn it is, with its next batch, and others whose next batches fit into that."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        batch = self._affordable(job)
        job.started_at = job.started_at or time.perf_counter()
        return self._merged(job, batch) if job.engine.facts.spec.batch_invariant else [(job, batch)]

    def learn(self, parts: list[Part], seconds: float) -> None:
        """Note what a batch cost."""
        key = _fingerprint(parts[0][0])
        cost = seconds / sum(job.padded_tokens(batch) for job, batch in parts)
        old = self.token_seconds.get(key, cost)
        self.token_seconds[key] = old + _SMOOTHING * (cost - old)
        self.batch_seconds += _SMOOTHING * (seconds - self.batch_seconds)

    def _affordable(self, job: Job) -> list[int]:
        """Return the job's next batch, with a deadline only as many pairs as it likely allows."""
        batch, remaining = job.plan.popleft(), job.call.remaining
        cost = self.token_seconds.get(_fingerprint(job), 0.0) * job.padded_tokens(batch) / len(batch)
        if remaining is None or cost * len(batch) <= remaining or len(batch) == 1:
            return batch
        rows = max(1, int(remaining / cost))  # one in any case: an estimate that is too high must be corrected
        rows = min(rows, len(batch) - 1)  # the division may round up to all of them
        first = sorted(batch)
        job.plan.appendleft(first[rows:])
        return first[:rows]

    def _merged(self, job: Job, batch: list[int]) -> list[Part]:
        """Add the next batches of other jobs of the engine while the common batch stays within its limits."""
        parts, rows, tokens = [(job, batch)], len(batch), job.padded_tokens(batch)
        length, limit = tokens // rows, min(job.limits.max_tokens, self._tokens_in_time(job))
        for other in [other for other in self._jobs if other.engine is job.engine and other.call.deadline is None]:
            theirs = other.plan[0]
            their_tokens = other.padded_tokens(theirs)
            longest = max(length, their_tokens // len(theirs))
            common = tokens + their_tokens if job.limits.packed else (rows + len(theirs)) * longest
            most = min(limit, MERGING_WASTE * (tokens + their_tokens))
            if common > most or rows + len(theirs) > (job.limits.max_rows or common):
                continue
            self._jobs.remove(other)
            other.plan.popleft()
            other.started_at = other.started_at or time.perf_counter()
            parts.append((other, theirs))
            rows, length, tokens = rows + len(theirs), longest, common
        return parts

    def _tokens_in_time(self, job: Job) -> float:
        """Return how many padded tokens its deadline allows; none where a token's cost isn't known yet."""
        remaining, cost = job.call.remaining, self.token_seconds.get(_fingerprint(job))
        if remaining is None:
            return math.inf
        return remaining / cost if cost else 0.0


def _may_be_merged(job: Job) -> bool:
    return job.engine.facts.spec.batch_invariant and job.call.deadline is None


def _fingerprint(job: Job) -> str:
    return job.engine.facts.spec.fingerprint
