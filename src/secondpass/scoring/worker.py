"""One thread for a device: every forward pass of the engines on it runs there, one batch at a time."""

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from secondpass.errors import ConfigurationError, OutOfMemory
from secondpass.scores import Call, UnscoredReason
from secondpass.scoring.batching import plan_batches
from secondpass.scoring.engine import Encoded, Engine

T = TypeVar("T")

DEADLINE_BLOCK = 32  # pairs: with a deadline, the first stage's best are scored first, in blocks of so many


@dataclass(frozen=True, slots=True)
class Job:
    """Pairs to be scored by one engine, for one caller."""

    engine: Engine
    encoded: Sequence[Encoded]
    call: Call


@dataclass(slots=True)
class Pass:
    """What became of a job.

    :param rows: The raw outputs of each pair, or why there are none, in the order of the pairs.
    :param waited: Seconds in the queue.
    :param seconds: Seconds of work.
    :param batches: Forward passes that succeeded.
    :param padded: Tokens that went through the model, padding included.
    :param halved: Batches that had to be halved for want of memory.
    """

    rows: list[list[float] | UnscoredReason]
    waited: float = 0.0
    seconds: float = 0.0
    batches: int = 0
    padded: int = 0
    halved: int = 0


class Worker:
    """Runs jobs one after the other on a thread of its own.

    :param name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"secondpass-{name}")
        self._process = os.getpid()

    def submit(self, job: Job) -> "Future[Pass]":
        """Queue a job; its deadline and its cancellation are looked at between batches."""
        return self.run(_work, job, time.perf_counter())

    def run(self, function: "Callable[..., T]", *arguments: object) -> "Future[T]":
        """Queue anything else that must happen on the device's own thread.

        :raises ConfigurationError: In a process forked after the worker was made: its thread isn't there.
        """
        if os.getpid() != self._process:
            raise ConfigurationError(
                "a scorer can't be used in a process that was forked after it was loaded; load it in the child"
            )
        return self._executor.submit(function, *arguments)


def _work(job: Job, queued_at: float) -> Pass:
    started = time.perf_counter()
    done = Pass([UnscoredReason.FAILED] * len(job.encoded), waited=started - queued_at)
    lengths = [encoded.length for encoded in job.encoded]
    block = None if job.call.deadline is None else DEADLINE_BLOCK
    for batch in plan_batches(lengths, job.engine.facts.placement.limits, block):
        over = job.call.over()
        if over:
            done.rows = [over if row is UnscoredReason.FAILED else row for row in done.rows]
            break
        _forward(job, batch, done)
    done.seconds = time.perf_counter() - started
    return done


def _forward(job: Job, batch: list[int], done: Pass) -> None:
    """Run one batch; one that is too large for the memory is halved, down to a single pair."""
    try:
        rows = job.engine.forward([job.encoded[position] for position in batch])
    except OutOfMemory:
        if len(batch) == 1:
            raise
        done.halved += 1
        middle = math.ceil(len(batch) / 2)
        _forward(job, batch[:middle], done)
        _forward(job, batch[middle:], done)
        return
    for position, row in zip(batch, rows, strict=True):
        done.rows[position] = row
    done.batches += 1
    done.padded += len(batch) * job.engine.facts.placement.limits.padded(job.encoded[batch[0]].length)
