"""The threads on which asynchronous calls run."""

import asyncio
import copy
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest
from fake_engine import blocked_engine

from secondpass import Call, OverlapScorer, Pair, Reranker, Scored
from secondpass.errors import ScoringError
from secondpass.processes import CallThreads
from secondpass.ranking import Cause
from secondpass.scorers.cached import Cached
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.cross_encoder import CrossEncoder


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> CallThreads:
    """Have asynchronous calls run on two threads of the test's own."""
    own = CallThreads("test", most=2)
    monkeypatch.setattr("secondpass.reranker.CALLS", own)
    return own


@pytest.mark.usefixtures("threads")
async def test_a_deadline_is_kept_behind_calls_that_hang() -> None:
    """Where all threads are busy, a call returns at its deadline with the first stage's order."""
    with blocked_engine() as engine:
        reranker = Reranker(CrossEncoder(engine))
        busy = [asyncio.create_task(reranker.arerank("query", ["a"])) for _ in range(2)]
        await asyncio.to_thread(engine.blocked.wait)
        ranking = await asyncio.wait_for(reranker.arerank("query", ["b", "a"], call=Call(50)), 30)
        assert ranking.degraded is not None
        assert ranking.degraded.cause is Cause.DEADLINE
        engine.unblock.set()
        assert [len(done) for done in await asyncio.gather(*busy)] == [1, 1]


async def test_a_cancelled_call_that_waits_never_runs(threads: CallThreads) -> None:
    """A task that is cancelled while all threads are busy costs nothing later."""
    threads._most = 1
    with blocked_engine() as engine:
        reranker = Reranker(CrossEncoder(engine))
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


async def test_calls_of_all_rerankers_use_the_same_threads(threads: CallThreads) -> None:
    """Calls one after the other run on one thread, also those of copies."""
    names: set[int] = set()
    reranker = Reranker(OverlapScorer(), observers=[lambda _: names.add(threading.get_ident())])
    for _ in range(5):
        await copy.deepcopy(reranker).arerank("query", ["a"])
        await asyncio.to_thread(lambda: all_idle(threads))
    assert len(names) == 1


def all_idle(threads: CallThreads) -> None:
    """Wait until all threads wait for calls."""
    while threads._idle < len(threads._threads):
        pass


class Counted(OverlapScorer):
    """Counts its calls, and blocks in them until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.blocked, self.go = threading.Semaphore(0), threading.Event()

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.calls += 1
        self.blocked.release()
        self.go.wait()
        return super().score_pairs(pairs, call=call)


async def test_a_call_that_is_over_never_reaches_the_scorer(threads: CallThreads) -> None:
    """A hundred calls whose deadline comes while all threads are busy are answered, by a few threads more."""
    scorer = Counted()
    reranker, before = Reranker(scorer), threading.active_count()
    busy = [asyncio.create_task(reranker.arerank("query", ["a"])) for _ in range(threads._most)]
    for _ in busy:
        await asyncio.to_thread(scorer.blocked.acquire)
    rankings = await asyncio.gather(*(reranker.arerank("query", ["b", "a"], call=Call(20)) for _ in range(100)))
    assert {str(ranking.degraded.cause) for ranking in rankings if ranking.degraded} == {"deadline"}
    assert scorer.calls == threads._most
    assert threading.active_count() - before <= threads._most + 20  # those of the event loop's executor
    scorer.go.set()
    await asyncio.gather(*busy)


def test_a_call_that_is_over_never_reaches_a_scorer_inside() -> None:
    """Every wrapper asks the scorers inside in the same way."""
    scorer = Counted()
    for outer in (scorer, Fallback(scorer, scorer), Cached(scorer)):
        ranking = Reranker(outer).rerank("query", ["a"], call=Call(0))
        assert ranking.degraded
    assert scorer.calls == 0


async def test_a_call_within_a_call_has_a_thread_of_its_own(threads: CallThreads) -> None:
    """A scorer that itself awaits rerankings doesn't wait for the threads that such calls hold."""

    class Nested(OverlapScorer):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            together.wait(30)  # all threads are busy
            asyncio.run(Reranker(OverlapScorer()).arerank("query", ["a"]))
            return super().score_pairs(pairs, call=call)

    together = threading.Barrier(threads._most)
    calls = [Reranker(Nested()).arerank("query", ["a"]) for _ in range(threads._most)]
    assert [len(ranking) for ranking in await asyncio.wait_for(asyncio.gather(*calls), 60)] == [1] * threads._most


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


LOADING = """
import time
from secondpass import LoadOptions, NamedScorer, OverlapScorer, Reranker
from secondpass.scorers import load

class Slow(OverlapScorer):
    def warmup(self):
        time.sleep(0.5)
        print("loaded", flush=True)

load.open_scorer = lambda model, options: Slow()
{action}
"""


@pytest.mark.parametrize(
    "action", ['Reranker(NamedScorer("small")).warmup(background=True)', "Reranker(Slow()).warmup(background=True)"]
)
def test_the_interpreter_waits_for_a_model_that_loads_in_the_background(action: str) -> None:
    """A thread that loses the interpreter inside of ONNX Runtime's code would abort the process."""
    script = LOADING.format(action=action)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"loaded\n", b"")
