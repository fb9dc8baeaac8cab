"""The worker: one thread for each scorer's device, on which all calls' forward passes run, one batch at a time.

Calls take turns by batches, so that a short call isn't behind a long one, and the next batches of several calls of one
engine are merged where they fit into one. A thread that is busy with one batch for too long is replaced.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

from secondpass.errors import QueueFull, ScoringError
from secondpass.processes import end_at_exit
from secondpass.records import UnscoredReason
from secondpass.scoring.batches import BatchScheduler, Job, Part, run_batch

_POLL_SECONDS = 0.1  # of who waits for a task: so often it looks whether the thread is stuck
_LOCK_SECONDS = 1.0  # a finaliser may run where another lock is held: it doesn't wait for ever

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
class _Task:
    """A function that runs on the worker's thread after the jobs that were there before it."""

    function: Callable[[], None]
    after: set[Job]
    done: "Future[None]" = field(default_factory=Future)


class Worker:
    """Runs jobs on its own thread.

    :param name: The thread's name.
    :param settings: The limits of queue and batches.
    """

    def __init__(self, name: str, settings: WorkerSettings | None = None) -> None:
        self._queue = _Queue(f"secondpass-{name}", settings or WorkerSettings())
        weakref.finalize(self, _Queue.close, self._queue).atexit = False

    @property
    def stuck(self) -> int:
        """How many threads were given up because of a batch that took too long."""
        return self._queue.stuck

    def submit(self, job: Job) -> None:
        """Queue a job; ``job.done`` tells its end.

        :raises QueueFull: If too many pairs wait.
        :raises ScoringError: If no thread can be started, or the interpreter ends.
        """
        self._queue.add(job)

    def run(self, function: Callable[[], None]) -> None:
        """Run a function on the device's thread, after the jobs that are queued, and wait for it.

        :raises ScoringError: As ``submit``, or if the function took longer than a batch may.
        """
        done = self._queue.add_task(function)
        while not wait([done], timeout=_POLL_SECONDS).done:
            self.check()
        done.result()

    def withdraw(self, job: Job) -> None:
        """End a job whose caller no longer waits; a batch that it is in goes on."""
        self._queue.withdraw(job)

    def check(self) -> None:
        """Replace the thread if it is stuck or has ended; the calls in its batch fail."""
        self._queue.check()


class _Queue:
    """The jobs of a worker, and the thread that works on them; the thread holds no reference to the worker."""

    def __init__(self, name: str, settings: WorkerSettings) -> None:
        self._name = name
        self._settings = settings
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._jobs: set[Job] = set()  # all that aren't done: in the queue or in the batch
        self._turns = BatchScheduler()
        self._tasks: list[_Task] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._task: _Task | None = None  # in progress
        self._busy_since: float | None = None
        self.stuck = 0
        end_at_exit(self)

    def add(self, job: Job) -> None:
        """Queue a job, unless its deadline comes before its turn does."""
        self.check()  # also for calls whose deadlines are too short to wait for anything
        with self._changed:
            remaining = job.call.remaining
            if remaining is not None and remaining < self._turns.seconds_ahead:
                job.stopped = UnscoredReason.DEADLINE
            if job.stopped or not job.plan:
                job.done.set_result(None)
                return
            waiting = self._turns.pairs
            if waiting and waiting + len(job.encoded) > self._settings.max_pairs:
                raise QueueFull(
                    f"at most {self._settings.max_pairs} pairs may wait for {self._name}, and {waiting} do: try again "
                    "later, or allow more"
                )
            self._wake()  # before the job is there, so that none is left where no thread can be started
            self._jobs.add(job)
            self._turns.add(job)

    def add_task(self, function: Callable[[], None]) -> "Future[None]":
        """Queue a function behind the present jobs."""
        with self._changed:
            self._wake()
            task = _Task(function, set(self._jobs))
            self._tasks.append(task)
            return task.done

    def withdraw(self, job: Job) -> None:
        """End a job whose caller no longer waits; a batch that it is in goes on."""
        with self._changed:
            if job in self._turns:
                self._turns.remove(job)
            job.plan.clear()
            self._finish(job)

    def check(self) -> None:
        """Give up a thread that has ended, or that has been busy for too long, and go on with another."""
        with self._changed:
            limit = self._settings.watchdog_seconds
            late = self._busy_since is not None and time.monotonic() - self._busy_since >= limit
            if late:
                what = "release" if self._task else "batch"
                fact = f"one {what} took more than {limit:g} s on {self._name}: its thread was given up"
                self.stuck += 1
                self._thread = None
            elif (self._jobs or self._tasks) and not (self._thread and self._thread.is_alive()):
                fact = f"the thread of {self._name} has ended"
            else:
                return
            self._fail_current(fact)
            self._go_on()
        _logger.warning("%s%s", fact, f", {self.stuck} so far" if late else "")

    def close(self) -> None:
        """End the thread after the batch in progress; what waits fails. In a forked process nothing happens."""
        self._closed = True
        if os.getpid() == self._process and self._changed.acquire(timeout=_LOCK_SECONDS):
            try:
                self._fail([job for job in self._jobs if job in self._turns], self._tasks, self._closed_fact)
                self._changed.notify_all()
            finally:
                self._changed.release()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, but not for a stuck one."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    @property
    def _closed_fact(self) -> str:
        return f"{self._name} is closed: the interpreter ends, or nothing refers to its scorer"

    def _wake(self) -> None:
        """Have the thread look for work, and start it where there is none.

        :raises ScoringError: If it can't be started, or the queue is closed.
        """
        if self._closed:
            raise ScoringError(self._closed_fact)
        if self._thread is None or not self._thread.is_alive():  # a bug in the queue itself would end it
            thread = threading.Thread(target=self._serve, name=f"{self._name}_{self.stuck}", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as error:
                raise ScoringError(f"the thread of {self._name} can't be started: {error}") from error
            self._thread = thread
        self._changed.notify_all()

    def _go_on(self) -> None:
        """Have what is left be worked on, after an error; where that can't be, it fails too."""
        if self._jobs or self._tasks:
            try:
                self._wake()
            except ScoringError as error:
                self._fail(list(self._jobs), self._tasks, str(error))

    def _serve(self) -> None:
        """Work until the worker is closed, or this thread is replaced."""
        me, goes_on = threading.current_thread(), True
        while goes_on:  # nothing of a call outlives its step: exceptions hold frames, and those the worker
            try:
                goes_on = self._step(me)
            except BaseException as error:  # noqa: BLE001  of the engine's facts or the call's clock: nobody may wait
                self._recover(me, error)

    def _step(self, me: threading.Thread) -> bool:
        """Wait for work and do one batch or task; return whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._thread is not me or self._turns or self._ready())
            if self._closed or self._thread is not me:
                return False
            for job in self._turns.take_stopped():
                self._finish(job)
            task = self._task = self._ready()
            if task:
                self._tasks.remove(task)
            parts = [] if task else self._turns.next_batch()
            self._busy_since = time.monotonic() if task or parts else None
        if task:
            self._run_task(task, me)
        elif parts:
            self._forward(parts, me)
        return True

    def _recover(self, me: threading.Thread, error: BaseException) -> None:
        """Fail what was worked on; if there is nothing, all, so that no error repeats for ever."""
        fact = f"the worker failed: {type(error).__name__}: {error}"
        with self._changed:
            if self._thread is me and not self._fail_current(fact, error):
                self._fail(list(self._jobs), self._tasks, fact, error)
        _logger.error("a batch could not be planned or noted on %s", self._name, exc_info=error)

    def _ready(self) -> _Task | None:
        return next((task for task in self._tasks if not task.after), None)

    def _run_task(self, task: _Task, me: threading.Thread) -> None:
        failed: BaseException | None = None
        try:
            task.function()
        except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
            failed = error
        with self._changed:
            if self._thread is me:
                self._task = self._busy_since = None
                _resolve(task.done, failed)
        failed = None  # it refers to this frame

    def _forward(self, parts: list[Part], me: threading.Thread) -> None:
        """Run a batch, and put its jobs back in the queue, or end them."""
        started = time.perf_counter()
        errors = run_batch(parts)
        seconds = time.perf_counter() - started
        with self._changed:
            if self._thread is not me:
                return
            self._busy_since = None
            if not errors:
                self._turns.learn(parts, seconds)
            for job, _ in parts:
                job.seconds += seconds
                job.merged += len(parts) > 1
                if job.plan and job not in errors:
                    self._turns.add(job)
                else:
                    self._finish(job, errors.get(job))

    def _fail_current(self, fact: str, cause: BaseException | None = None) -> bool:
        """Fail the task or the jobs that are worked on, and return whether there are any."""
        jobs = [job for job in self._jobs if job not in self._turns]
        tasks = [self._task] if self._task else []
        self._task = self._busy_since = None
        self._fail(jobs, tasks, fact, cause)
        return bool(jobs or tasks)

    def _fail(self, jobs: list[Job], tasks: list[_Task], fact: str, cause: BaseException | None = None) -> None:
        for job in jobs:
            if job in self._turns:
                self._turns.remove(job)
            self._finish(job, _failure(fact, cause))
        for task in tasks:
            _resolve(task.done, _failure(fact, cause))
        self._tasks = [task for task in self._tasks if not task.done.done()]

    def _finish(self, job: Job, error: BaseException | None = None) -> None:
        self._jobs.discard(job)
        for task in self._tasks:
            task.after.discard(job)
        _resolve(job.done, error)


def _failure(fact: str, cause: BaseException | None) -> ScoringError:
    """Return an error of its own for each caller, as raising it adds to its traceback."""
    error = ScoringError(fact)
    error.__cause__ = cause
    return error


def _resolve(done: "Future[None]", error: BaseException | None) -> None:
    if done.done():
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(None)
