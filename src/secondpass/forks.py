"""What objects with locks and open files do when the process forks.

A forked child has one thread, and copies of all locks: one that another thread held stays locked for ever.
"""

import os
import threading
import weakref
from functools import cache, partial
from typing import Protocol


class ForkAware(Protocol):
    """An object that prepares for a fork. Both methods run on the thread that forks."""

    def before_fork(self) -> None:
        """Bring the object into a state that may be copied."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Undo ``before_fork``; in the child, replace locks that other threads may hold."""
        ...


class ForkHooks:
    """Objects that prepare for every fork. Of several hooks, those that were created last prepare first.

    A library's own hooks may stop its other threads until the fork is over: objects that wait for threads in it must
    prepare before, and so need hooks that are created after the library is imported.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # from before a fork to after it: one at a time
        self._objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()  # holds none alive, so none has to be removed
        self._prepared: list[ForkAware] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before,
                after_in_parent=partial(self._after, in_child=False),
                after_in_child=partial(self._after, in_child=True),
            )

    def watch(self, item: ForkAware) -> None:
        """Have an object prepare for every fork, as long as it lives. Where processes don't fork, nothing happens."""
        with self._lock:
            self._objects.add(item)

    def _before(self) -> None:
        self._lock.acquire()
        self._prepared.extend(self._objects)
        for item in self._prepared:
            item.before_fork()

    def _after(self, *, in_child: bool) -> None:
        try:
            for item in reversed(self._prepared or list(self._objects)):  # uWSGI may call the child's hook alone
                item.after_fork(in_child=in_child)
        finally:  # a signal's handler may raise in here, and then the next fork must not wait for ever
            self._prepared.clear()
            if self._lock.locked():
                self._lock.release()


_HOOKS = ForkHooks()
watch_forks = _HOOKS.watch


@cache
def file_lock_hooks() -> ForkHooks:
    """Return the hooks of objects that use filelock on threads.

    They prepare before filelock's own, in which a thread that takes a file's lock waits until the fork is over.
    """
    import filelock  # noqa: F401  # registers its hooks

    return ForkHooks()
