"""Daemon threads for calls, and the end of threads at interpreter exit."""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, partial
from typing import Any, Protocol, TypeVar

from secondpass.errors import ScoringError
from secondpass.forks import watch_forks

T = TypeVar("T")

_EXIT_SECONDS = 5.0  # together: a thread should end before it loses the interpreter, and a stuck one isn't waited for
_IDLE_SECONDS = 10.0


class Ending(Protocol):
    """An object with threads that should end before the interpreter does."""

    def close(self) -> None:
        """Have the threads end after what they do. Must not block."""
        ...

    def join(self, seconds: float) -> None:
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


def _end() -> None:
    items = list(_ending)
    for item in items:
        item.close()
    until = time.monotonic() + _EXIT_SECONDS
    for item in items:
        item.join(max(0.0, until - time.monotonic()))


class CallThreads:
    """Daemon threads on which calls run: an exit doesn't wait for a stuck one. Idle ones end after a while.

    :param name: The threads' name.
    :param most: How many calls run at once; further ones wait.
    """

    def __init__(self, name: str, most: int = 32) -> None:
        self._name = name
        self._most = most
        self._renew()
        watch_forks(self)
        end_at_exit(self)

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Run a function on one of the threads.

        :raises ScoringError: If there is no thread, and none can be started.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._idle <= len(self._waiting) and self._threads < self._most:
                try:
                    self._start(self._serve)
                except RuntimeError as error:
                    if not self._threads:
                        raise ScoringError(f"no thread can be started for a call: {error}") from error
                else:
                    self._threads += 1
            self._waiting.append((future, function))
            self._changed.notify()
        return future

    def run_now(self, future: "Future[Any]") -> None:
        """Run a function that still waits on a thread of its own: one that takes no time, as after its deadline."""
        with self._changed:
            item = next((item for item in self._waiting if item[0] is future), None)
            if item:
                with suppress(RuntimeError):  # no thread can be started: it waits on
                    self._start(partial(_run, *item))
                    self._waiting.remove(item)

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

    def before_fork(self) -> None:
        """See ``ForkAware``."""

    def after_fork(self, *, in_child: bool) -> None:
        """Begin anew in the child, which has none of the threads."""
        if in_child:
            self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = self._idle = 0
        self._closed = False

    def _start(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name=self._name, daemon=True).start()

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
                self._threads -= 1
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
