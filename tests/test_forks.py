"""Objects with locks and open files in a process that forks."""

import gc
import os
from dataclasses import dataclass

import pytest

from secondpass import forks
from secondpass.forks import watch_forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")


@dataclass(eq=False)
class Recorder:
    """Records what it is told of forks."""

    log: list[str]
    name: str = "a"

    def before_fork(self) -> None:
        """See ``ForkAware``."""
        self.log.append(f"{self.name} before")

    def after_fork(self, *, in_child: bool) -> None:
        """See ``ForkAware``."""
        self.log.append(f"{self.name} {'child' if in_child else 'parent'}")


def log_in_child(log: list[str]) -> str:
    """Fork, and return the log as the child has it."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, ", ".join(log).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_an_object_is_prepared_before_a_fork_and_undoes_that_in_both_processes() -> None:
    """Each process gets its own call after the fork."""
    log: list[str] = []
    recorder = Recorder(log)
    watch_forks(recorder)
    assert log_in_child(log) == "a before, a child"
    assert log == ["a before", "a parent"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_an_object_that_is_gone_is_not_called() -> None:
    """The registry keeps nothing alive."""
    log: list[str] = []
    watch_forks(Recorder(log))
    gc.collect()
    assert log_in_child(log) == ""
    assert log == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_error_after_a_fork_does_not_block_the_next_one() -> None:
    """As of a signal's handler that raises while the objects undo their preparation."""

    class Interrupted(Recorder):
        def after_fork(self, *, in_child: bool) -> None:
            raise KeyboardInterrupt

    recorder = Interrupted([])
    watch_forks(recorder)
    log_in_child([])
    assert not forks._HOOKS._lock.locked()
