"""Threads for calls, their end at interpreter exit, and forked processes.

A forked child has the thread that forked, and copies of all locks: one that another thread held stays locked for ever.
The rule: a child starts cold. Its locks are free, its threads begin with its first call, and models are opened anew.
"""

import atexit
import ctypes
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from typing import Any, Generic, Protocol, TypeVar

from secondpass.errors import ScoringError

T = TypeVar("T")

_LIBC: Any = ctypes.CDLL(None) if os.name == "posix" else None
_FORK_SECONDS = 10.0  # together: how long a fork waits for the locks whose holders a child could not go on without
_EXIT_SECONDS = 5.0  # together: a thread should end before it loses the interpreter, and a stuck one isn't waited for
_IDLE_SECONDS = 10.0

_Registry = weakref.WeakKeyDictionary[Any, Callable[[Any], object]]
_renewals, _waited, _preparations = _Registry(), _Registry(), _Registry()
_held: "dict[int, list[ForkLock]]" = {}  # by the thread that forks, from before a fork to after it


def renew_in_child(item: T, renew: Callable[[T], object]) -> None:
    """Have something renewed in each forked process, before anything else runs there.

    :param item: The object; it isn't kept alive, and has one such function.
    :param renew: Replaces what belonged to the parent's threads; it must not wait.
    """
    _renewals[item] = renew


def _renew() -> None:
    for item in _alive(_renewals):
        _renewals[item](item)


def _alive(registry: _Registry) -> list[Any]:
    """Return the objects of a registry, to which other threads may be adding."""
    return [item for reference in registry.keyrefs() if (item := reference()) is not None]


def end_without_destructors() -> None:
    """Have this forked process end without glibc's last step, in which libraries wait for threads that aren't there."""
    if hasattr(_LIBC, "on_exit"):
        _LIBC.on_exit(_LIBC._exit, None)  # noqa: SLF001  # called with the exit status


def prepare_for_fork(item: T, prepare: Callable[[T], object]) -> None:
    """Have something done before each fork, while the locks are held that it waits for; the object isn't kept alive."""
    _preparations[item] = prepare


class ForkLock:
    """A re-entrant lock that is free in a forked process, whichever thread of the parent held it.

    :param waited: Whether a fork waits for the thread that holds it (10 s for all such locks): it writes a file, or
        imports a module, which would remain half-imported in the child.
    """

    def __init__(self, *, waited: bool = False) -> None:
        self._lock = threading.RLock()
        self.cut = False
        """Whether this process was forked while another thread held the lock."""
        renew_in_child(self, ForkLock._renew)
        if waited:
            _wait_at_forks()
            _waited[self] = ForkLock.release

    def __enter__(self) -> None:
        """Acquire the lock."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self._lock.release()

    def acquire(self, timeout: float) -> bool:
        """Acquire the lock within a time in seconds, and return whether that was possible."""
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def _renew(self) -> None:
        if self._lock.acquire(blocking=False):  # free, or this very thread's
            self._lock.release()
        else:
            self._lock, self.cut = threading.RLock(), True


def _hold_all() -> None:
    until = time.monotonic() + _FORK_SECONDS
    held = _held[threading.get_ident()] = []
    new, seen = {_forking}, {_forking}
    while new:  # a thread that holds one may create another
        held.extend(lock for lock in new if lock.acquire(max(0.0, until - time.monotonic())))
        new = set(_alive(_waited)) - seen
        seen |= new
    for item in _alive(_preparations):
        _preparations[item](item)


def _release_all() -> None:
    held = _held.pop(threading.get_ident(), [])
    while held:
        held.pop().release()


@cache
def _wait_at_forks() -> None:
    """Have forks wait, before the hooks of these modules stop the threads that use them: they are imported first."""
    import concurrent.futures.thread  # noqa: F401

    import filelock  # noqa: F401

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_release_all)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew)
_forking = ForkLock()  # two threads that fork at once would wait for each other


class Ending(Protocol):
    """An object with threads that should end before the interpreter does."""

    def close(self) -> None:
        """Have the threads end after what they do. Must not block."""
        ...

    def join(self, seconds: float, /) -> None:
        """Wait for their end, but no longer than that."""
        ...


_ending: "weakref.WeakSet[Ending]" = weakref.WeakSet()  # holds no object alive, so nothing has to be removed


def end_at_exit(item: Ending) -> None:
    """Have an object end its threads at interpreter exit, which waits for all of them at most 5 seconds."""
    _ending.add(item)
    _register()


@cache  # once, and not on import: the handlers of a library that is imported before run after this one
def _register() -> None:
    atexit.register(_end)
    renew_in_child(_end, lambda _: _ending.clear())


def _end() -> None:
    items = list(_ending)
    for item in items:
        item.close()
    until = time.monotonic() + _EXIT_SECONDS
    for item in items:
        item.join(max(0.0, until - time.monotonic()))


class LoadingThread(threading.Thread):
    """A daemon thread that loads a model.

    An exit waits for it as for others: a thread that loses the interpreter in a library's C++ aborts the process.
    """

    def __init__(self, target: Callable[[], object]) -> None:
        super().__init__(target=target, name="secondpass-warmup", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        super().start()
        end_at_exit(self)

    def close(self) -> None:
        """See ``Ending``: what loads can't be interrupted."""


class BackgroundQueue(Generic[T]):
    """A bounded queue of items on which a thread works, in batches. Safe across threads.

    The thread begins with the first item, and ends when none is left. A forked process begins with an empty queue.

    :param work: Called with each batch, on the thread; it must not raise.
    :param name: The thread's name.
    :param most: How many items may wait.
    :param batch: The maximum number of items of a batch.
    :param drains: Whether the interpreter's exit, and a fork, wait for the work; else what is left is lost.
    """

    _items: deque[T]
    _running: bool
    _idle: threading.Event

    def __init__(
        self, work: Callable[[list[T]], None], name: str, *, most: int, batch: int = 1, drains: bool = True
    ) -> None:
        self._work, self._name = work, name
        self._most, self._batch, self._drains = most, batch, drains
        self._lock = ForkLock()  # held for an instant
        self._working = ForkLock(waited=drains)
        self._renew()
        renew_in_child(self, BackgroundQueue._renew)

    @property
    def cut(self) -> bool:
        """Whether this process was forked while a batch was worked on."""
        return self._working.cut

    def put(self, item: T) -> bool:
        """Add an item, and return whether there was room for it."""
        with self._lock:
            if len(self._items) >= self._most:
                return False
            self._items.append(item)
            begins, self._running = not self._running, True
            self._idle.clear()
        if begins:
            self._begin()
        return True

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until no item is left; return whether that was reached in time."""
        return self._idle.wait(seconds)

    def _renew(self) -> None:
        self._items = deque()
        self._running = False
        self._idle = threading.Event()
        self._idle.set()

    def _begin(self) -> None:
        """Start the thread; where there can't be one, as while the interpreter exits, work here."""
        exiting = self._drains and not threading.main_thread().is_alive()
        try:
            if not exiting:
                threading.Thread(target=self._serve, name=self._name, daemon=not self._drains).start()
        except RuntimeError:
            exiting = True
        if exiting:
            self._serve()

    def _serve(self) -> None:
        while True:
            with self._working:
                with self._lock:
                    batch = [self._items.popleft() for _ in range(min(self._batch, len(self._items)))]
                    if not batch:
                        self._running = False
                        self._idle.set()
                        return
                self._work(batch)


class CallThreads:
    """Daemon threads on which calls run: an exit doesn't wait for a stuck one. Idle ones end after a while.

    :param name: The threads' name.
    :param most: How many calls run at once; further ones wait, except for those that calls on these threads make.
    """

    def __init__(self, name: str, most: int = 32) -> None:
        self._name = name
        self._most = most
        self._renew()
        renew_in_child(self, CallThreads._renew)

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Run a function on one of the threads.

        :raises ScoringError: If there is no thread, and none can be started.
        """
        future: Future[T] = Future()
        end_at_exit(self)
        with self._changed:
            try:
                if threading.current_thread() in self._threads:  # it would wait for itself where all are busy
                    self._start(partial(_run, future, function))
                    return future
                if self._idle <= len(self._waiting) and len(self._threads) < self._most:
                    self._threads.add(self._start(self._serve))
            except RuntimeError as error:
                if not self._threads:
                    raise ScoringError(f"no thread can be started for a call: {error}") from error
            self._waiting.append((future, function))
            self._changed.notify()
        return future

    def withdraw(self, future: "Future[Any]") -> bool:
        """Cancel a call that still waits for a thread, and return whether it did."""
        with self._changed:
            for item in [item for item in self._waiting if item[0] is future]:
                self._waiting.remove(item)
            return future.cancel()

    def close(self) -> None:
        """Have the threads end after their calls; those that wait are cancelled."""
        if self._changed.acquire(timeout=1.0):
            try:
                self._closed = True
                while self._waiting:
                    self._waiting.popleft()[0].cancel()
                self._changed.notify_all()
            finally:
                self._changed.release()

    def join(self, seconds: float) -> None:
        """Wait for the end of the threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._threads, seconds)

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def _start(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=self._name, daemon=True)
        thread.start()
        return thread

    def _serve(self) -> None:
        while self._step():
            pass  # nothing of a call outlives its step

    def _step(self) -> bool:
        """Wait for a call and run it; return whether to go on."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed, _IDLE_SECONDS)
            self._idle -= 1
            if not self._waiting:
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()
                return False
            item = self._waiting.popleft()
        _run(*item)
        return True


def _run(future: "Future[Any]", function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  it is raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


CALLS = CallThreads("secondpass-rerank")
"""The threads of this process on which asynchronous calls run."""
LATE_CALLS = CallThreads("secondpass-late", most=4)
"""Those for calls whose deadline came while they waited: nothing is scored, so that they take no time."""
