"""The threads on which asynchronous calls run."""

import asyncio
import subprocess
import sys
import threading

import pytest
from fake_engine import blocked_engine

from secondpass import Call, OverlapScorer, Reranker
from secondpass.errors import ScoringError
from secondpass.ranking import Cause
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.threads import CallThreads


async def test_a_deadline_is_kept_behind_calls_that_hang() -> None:
    """Where all threads are busy, a call returns at its deadline with the first stage's order."""
    with blocked_engine() as engine:
        reranker = Reranker(CrossEncoder(engine))
        reranker._executor = CallThreads("test", most=2)
        busy = [asyncio.create_task(reranker.arerank("query", ["a"])) for _ in range(2)]
        await asyncio.to_thread(engine.blocked.wait)
        ranking = await asyncio.wait_for(reranker.arerank("query", ["b", "a"], call=Call(50)), 30)
        assert ranking.degraded is not None
        assert ranking.degraded.cause is Cause.DEADLINE
        engine.unblock.set()
        assert [len(done) for done in await asyncio.gather(*busy)] == [1, 1]


async def test_a_cancelled_call_that_waits_never_runs() -> None:
    """A task that is cancelled while all threads are busy costs nothing later."""
    with blocked_engine() as engine:
        reranker = Reranker(CrossEncoder(engine))
        reranker._executor = CallThreads("test", most=1)
        busy = asyncio.create_task(reranker.arerank("query", ["a"]))
        await asyncio.to_thread(engine.blocked.wait)
        waiting = asyncio.create_task(reranker.arerank("query", ["b b"]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        engine.unblock.set()
        await busy
        await reranker.arerank("query", ["c c c"])
    assert engine.batches == [[1], [3]]


async def test_calls_use_a_thread_again() -> None:
    """Calls one after the other run on one thread."""
    names: set[int] = set()
    reranker = Reranker(OverlapScorer(), observers=[lambda _: names.add(threading.get_ident())])
    for _ in range(5):
        await reranker.arerank("query", ["a"])
        await asyncio.to_thread(lambda: all_idle(reranker._executor))
    assert len(names) == 1


def all_idle(threads: CallThreads) -> None:
    """Wait until all threads wait for calls."""
    while threads._idle < threads._threads:
        pass


def test_a_thread_that_can_not_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It isn't waited for."""

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(ScoringError, match="no thread can be started for a call: can't start new thread"):
        CallThreads("test").submit(lambda: None)


SCRIPT = """
import asyncio, threading
from secondpass import OverlapScorer, Reranker

class Hangs(OverlapScorer):
    def score_pairs(self, pairs, *, call=None):
        begun.set()
        threading.Event().wait()

async def main():
    task = asyncio.create_task(Reranker(Hangs()).arerank("query", ["a"]))
    await asyncio.to_thread(begun.wait)

begun = threading.Event()
asyncio.run(main())
"""


def test_the_interpreter_ends_while_a_call_hangs() -> None:
    """A stuck asynchronous call doesn't hold up the end of a script."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
