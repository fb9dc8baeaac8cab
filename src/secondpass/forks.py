"""What objects with locks and open files do when the process forks.

A forked child has one thread, and copies of all locks: one that another thread held stays locked for ever.
"""

import os
import threading
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object that prepares for a fork. Both methods run on the thread that forks."""

    def before_fork(self) -> None:
        """Bring the object into a state that may be copied."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Undo ``before_fork``; in the child, replace locks that other threads may hold."""
        ...


_lock = threading.Lock()  # from before a fork to after it: one at a time
_objects: "weakref.WeakSet[ForkAware]" = weakref.WeakSet()  # holds no object alive, so nothing has to be removed
_prepared: list[ForkAware] = []


def watch_forks(item: ForkAware) -> None:
    """Have an object prepare for every fork, as long as it lives. Where processes don't fork, nothing happens."""
    with _lock:
        _objects.add(item)


def _before() -> None:
    _lock.acquire()
    _prepared.extend(_objects)
    for item in _prepared:
        item.before_fork()


def _after(*, in_child: bool) -> None:
    for item in reversed(_prepared or list(_objects)):  # a host such as uWSGI may call the child's hook alone
        item.after_fork(in_child=in_child)
    _prepared.clear()
    if _lock.locked():
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
