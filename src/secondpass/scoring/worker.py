"""The worker: one thread per device on which all forward passes run, one batch at a time."""

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from secondpass.call import Call
from secondpass.errors import ConfigurationError, OutOfMemory
from secondpass.scores import UnscoredReason
from secondpass.scoring.batching import plan_batches
from secondpass.scoring.engines.base import Encoded, Engine

T = TypeVar("T")

DEADLINE_BLOCK = 8
"""Pairs in a block. With a deadline, blocks are scored in first-stage order, so that its best come first."""


@dataclass(slots=True)
class Job:
    """Tokenised pairs to be scored by one engine for one call, and their results so far.

    The worker fills the results batch by batch; the caller may read them at any time.

    :param engine: The engine.
    :param encoded: The tokenised pairs.
    :param call: Deadline and cancellation, checked between batches.
    :param rows: The raw outputs of each pair, None while there are none, in the order of the pairs.
    :param stopped: Why the worker stopped before the last pair; None otherwise.
    :param waited: Seconds in the queue.
    :param seconds: Seconds of forward passes.
    :param batches: Forward passes that succeeded.
    :param padded: Tokens in these batches, padding included.
    :param halved: Batches that were halved because they did not fit into memory.
    """

    engine: Engine
    encoded: Sequence[Encoded]
    call: Call
    rows: list[list[float] | None] = field(init=False)
    stopped: UnscoredReason | None = None
    waited: float = 0.0
    seconds: float = 0.0
    batches: int = 0
    padded: int = 0
    halved: int = 0

    def __post_init__(self) -> None:
        """Start without results."""
        self.rows = [None] * len(self.encoded)


class Worker:
    """Runs jobs one after the other on its own thread.

    :param name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"secondpass-{name}")
        self._process = os.getpid()

    def submit(self, job: Job) -> "Future[None]":
        """Queue a job.

        :raises ConfigurationError: As ``run``.
        """
        return self.run(_work, job, time.perf_counter())

    def run(self, function: "Callable[..., T]", *arguments: object) -> "Future[T]":
        """Queue a function that must run on the device's thread.

        :raises ConfigurationError: In a process that was forked after the worker was created: threads aren't copied.
        """
        if os.getpid() != self._process:
            raise ConfigurationError(
                "a scorer can't be used in a process that was forked after it was loaded: load it in the child process"
            )
        return self._executor.submit(function, *arguments)


def _work(job: Job, queued_at: float) -> None:
    started = time.perf_counter()
    job.waited = started - queued_at
    lengths = [encoded.length for encoded in job.encoded]
    block = None if job.call.deadline is None else DEADLINE_BLOCK
    for batch in plan_batches(lengths, job.engine.facts.placement.limits, block):
        job.stopped = job.call.stop_reason()
        if job.stopped:
            break
        _forward(job, batch)
    job.seconds = time.perf_counter() - started


def _forward(job: Job, batch: list[int]) -> None:
    """Run one batch; one that does not fit into memory is halved, down to a single pair."""
    rows = None
    try:
        rows = job.engine.forward([job.encoded[position] for position in batch])
    except OutOfMemory:
        if len(batch) == 1:
            raise
    if rows is None:  # outside of the except block: the traceback in it keeps the failed batch's tensors alive
        job.halved += 1
        middle = math.ceil(len(batch) / 2)
        _forward(job, batch[:middle])
        _forward(job, batch[middle:])
        return
    for position, row in zip(batch, rows, strict=True):
        job.rows[position] = row
    job.batches += 1
    job.padded += len(batch) * job.engine.facts.placement.limits.padded(job.encoded[batch[0]].length)
