"""The worker: one thread per device on which all forward passes run, one batch at a time, shared by all calls.

Calls take turns by batches, so that a short call isn't behind a long one, and the next batches of several calls of one
engine are merged where they fit into one. A thread that is busy with one batch for too long is replaced.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from secondpass.call import Call
from secondpass.errors import ConfigurationError, OutOfMemory, QueueFull, ScoringError
from secondpass.scores import UnscoredReason
from secondpass.scoring.batching import BatchLimits, plan_batches
from secondpass.scoring.engines.base import Encoded, Engine

DEADLINE_BLOCK = 8
"""Pairs in a block. With a deadline, blocks are scored in first-stage order, so that its best come first."""
MERGING_WASTE = 1.25
"""Calls are merged while the common batch has at most so many times the padded tokens of their own batches."""
_SMOOTHING = 0.3  # of the moving averages of what a token and a batch cost
_JOIN_SECONDS = 5.0  # at interpreter exit: a batch in progress should end before its thread loses the interpreter

_logger = logging.getLogger("secondpass")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of a worker.

    :param max_pairs: How many pairs may wait; a call beyond it raises ``QueueFull``, unless nothing waits.
    :param watchdog_seconds: How long one batch may take before its thread is given up.
    """

    max_pairs: int = 100_000
    watchdog_seconds: float = 300.0


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
        return len(batch) * max(1, self.limits.padded(max(self.encoded[position].length for position in batch)))


@dataclass(slots=True, eq=False)
class _Task:
    """A function that runs on the worker's thread after the jobs that were there before it."""

    function: Callable[[], None]
    after: set[Job]
    done: "Future[None]" = field(default_factory=Future)


_Part = tuple[Job, list[int]]


class Worker:
    """Runs jobs on its own thread.

    :param name: The thread's name.
    :param settings: The limits of queue and batches.
    """

    def __init__(self, name: str, settings: WorkerSettings | None = None) -> None:
        self._queue = _Queue(f"secondpass-{name}", settings or WorkerSettings())
        self._process = os.getpid()
        weakref.finalize(self, _Queue.close, self._queue).atexit = False
        atexit.register(_end, weakref.ref(self._queue))

    @property
    def stuck(self) -> int:
        """How many threads were given up because of a batch that took too long."""
        return self._queue.stuck

    def submit(self, job: Job) -> None:
        """Queue a job; ``job.done`` tells its end.

        :raises QueueFull: If too many pairs wait.
        :raises ConfigurationError: In a process that was forked after the worker was created: threads aren't copied.
        """
        self._check_process()
        self._queue.add(job)

    def run(self, function: Callable[[], None]) -> None:
        """Run a function on the device's thread, after the jobs that are queued, and wait for it.

        :raises ConfigurationError: As ``submit``.
        """
        self._check_process()
        self._queue.add_task(function).result()

    def withdraw(self, job: Job) -> None:
        """Take a job out of the queue whose caller no longer waits."""
        self._queue.withdraw(job)

    def check(self) -> None:
        """Replace the thread if it is stuck; the calls in its batch fail."""
        self._queue.replace_if_stuck()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ConfigurationError(
                "a scorer can't be used in a process that was forked after it was loaded: load it in the child process"
            )


class _Queue:
    """The jobs of a worker, and the thread that works on them; the thread holds no reference to the worker."""

    def __init__(self, name: str, settings: WorkerSettings) -> None:
        self._name = name
        self._settings = settings
        self._changed = threading.Condition()
        self._turns: deque[Job] = deque()
        self._tasks: list[_Task] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._batch: list[_Part] = []
        self._batch_since: float | None = None
        self._token_seconds: weakref.WeakKeyDictionary[Engine, float] = weakref.WeakKeyDictionary()
        self._batch_seconds = 0.0
        self.stuck = 0

    def add(self, job: Job) -> None:
        """Queue a job, unless its deadline comes before its turn does."""
        with self._changed:
            remaining = job.call.remaining
            if remaining is not None and remaining < len(self._turns) * self._batch_seconds:
                job.stopped = UnscoredReason.DEADLINE
            if job.stopped or not job.plan:
                job.done.set_result(None)
                return
            waiting = sum(len(batch) for other in self._turns for batch in other.plan)
            if waiting and waiting + len(job.encoded) > self._settings.max_pairs:
                raise QueueFull(
                    f"at most {self._settings.max_pairs} pairs may wait for {self._name}, and {waiting} do: try again "
                    "later, or allow more"
                )
            self._turns.append(job)
            self._wake()

    def add_task(self, function: Callable[[], None]) -> "Future[None]":
        """Queue a function behind the present jobs."""
        with self._changed:
            in_batch = {job for job, _ in self._batch}
            task = _Task(function, {*self._turns, *in_batch})
            self._tasks.append(task)
            self._wake()
            return task.done

    def withdraw(self, job: Job) -> None:
        """Take a job out of the queue whose caller no longer waits."""
        with self._changed, suppress(ValueError):
            self._turns.remove(job)
            self._finish(job)

    def close(self) -> None:
        """End the thread after the batch in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread's end, but not for a stuck one."""
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def replace_if_stuck(self) -> None:
        """Give up a thread that has been busy with one batch for too long, and go on with another."""
        with self._changed:
            since = self._batch_since
            if since is None or time.monotonic() - since < self._settings.watchdog_seconds:
                return
            given_up, self._batch, self._batch_since = self._batch, [], None
            self.stuck += 1
            limit = self._settings.watchdog_seconds
            fact = f"one batch took more than {limit:g} s on {self._name}: its thread was given up"
            for job, _ in given_up:
                self._finish(job, ScoringError(fact))
            self._thread = None
            self._wake()
        _logger.warning("%s, %d so far", fact, self.stuck)

    def _wake(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # a bug in the queue itself would end it
            self._thread = threading.Thread(target=self._serve, name=f"{self._name}_{self.stuck}", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _serve(self) -> None:
        """Work until the worker is closed, or this thread is replaced."""
        while self._step(threading.current_thread()):
            pass  # nothing of a call outlives its step: exceptions hold frames, and those the worker

    def _step(self, me: threading.Thread) -> bool:
        """Wait for work and do one batch or task; return whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._thread is not me or self._turns or self._ready())
            if self._closed or self._thread is not me:
                return False
            task = self._ready()
            if task:
                self._tasks.remove(task)
            self._batch = [] if task else self._next_batch()
            self._batch_since = time.monotonic() if self._batch else None
            parts = self._batch
        if task:
            _resolve(task)
        elif parts:
            self._forward(parts, me)
        return True

    def _ready(self) -> _Task | None:
        return next((task for task in self._tasks if not task.after), None)

    def _next_batch(self) -> list[_Part]:
        """Take the next batch of the job whose turn it is, and those of others that fit into it."""
        while self._turns:
            job = self._turns.popleft()
            job.stopped = job.call.stop_reason()
            if job.stopped:
                self._finish(job)
                continue
            batch = self._affordable(job)
            job.started_at = job.started_at or time.perf_counter()
            return self._merged(job, batch) if job.engine.facts.spec.batch_invariant else [(job, batch)]
        return []

    def _affordable(self, job: Job) -> list[int]:
        """Return the job's next batch, with a deadline only as many pairs as it likely allows."""
        batch, remaining = job.plan.popleft(), job.call.remaining
        cost = self._token_seconds.get(job.engine, 0.0) * job.padded_tokens(batch) / len(batch)
        if remaining is None or cost * len(batch) <= remaining or len(batch) == 1:
            return batch
        rows = max(1, int(remaining / cost))  # one in any case: an estimate that is too high must be corrected
        first = sorted(batch)
        job.plan.appendleft(first[rows:])
        return first[:rows]

    def _merged(self, job: Job, batch: list[int]) -> list[_Part]:
        """Add the next batches of other jobs of the engine while the common batch stays within its limits."""
        parts, rows, tokens = [(job, batch)], len(batch), job.padded_tokens(batch)
        length = tokens // rows
        for other in [other for other in self._turns if other.engine is job.engine and other.call.deadline is None]:
            theirs = other.plan[0]
            their_tokens = other.padded_tokens(theirs)
            longest = max(length, their_tokens // len(theirs))
            common = (rows + len(theirs)) * longest
            most = min(job.limits.max_tokens, MERGING_WASTE * (tokens + their_tokens))
            if common > most or rows + len(theirs) > (job.limits.max_rows or common):
                continue
            self._turns.remove(other)
            other.plan.popleft()
            other.started_at = other.started_at or time.perf_counter()
            parts.append((other, theirs))
            rows, length, tokens = rows + len(theirs), longest, common
        return parts

    def _forward(self, parts: list[_Part], me: threading.Thread) -> None:
        """Run a batch, and put its jobs back in the queue, or end them."""
        started = time.perf_counter()
        errors = _run(parts)
        seconds = time.perf_counter() - started
        with self._changed:
            if self._thread is not me:
                return
            self._batch, self._batch_since = [], None
            self._learn(parts, seconds)
            for job, _ in parts:
                job.seconds += seconds
                job.merged += len(parts) > 1
                if job.plan and job not in errors:
                    self._turns.append(job)
                else:
                    self._finish(job, errors.get(job))

    def _learn(self, parts: list[_Part], seconds: float) -> None:
        engine = parts[0][0].engine
        tokens = sum(job.padded_tokens(batch) for job, batch in parts)
        old = self._token_seconds.get(engine, seconds / tokens)
        self._token_seconds[engine] = old + _SMOOTHING * (seconds / tokens - old)
        self._batch_seconds += _SMOOTHING * (seconds - self._batch_seconds)

    def _finish(self, job: Job, error: BaseException | None = None) -> None:
        for task in self._tasks:
            task.after.discard(job)
        if job.done.done():
            return
        if error:
            job.done.set_exception(error)
        else:
            job.done.set_result(None)


def _end(queue: "weakref.ref[_Queue]") -> None:
    """At interpreter exit, end a worker's thread before it loses the interpreter within a forward pass."""
    it = queue()
    if it is not None:
        it.close()
        it.join()


def _resolve(task: _Task) -> None:
    try:
        task.function()
    except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
        task.done.set_exception(error)
    else:
        task.done.set_result(None)


def _run(parts: list[_Part]) -> dict[Job, BaseException]:
    """Run a batch, and return the exception of each job that failed; parts that failed together run again alone."""
    try:
        _halving([(job, position) for job, batch in parts for position in batch])
    except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
        if len(parts) == 1:
            return {parts[0][0]: error}
        return {job: error for part in parts for job, error in _run([part]).items()}
    return {}


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
    length = items[0][0].limits.padded(max(item.length for item in encoded))
    for (job, position), row in zip(items, rows, strict=True):
        job.rows[position] = row
        job.padded += length
