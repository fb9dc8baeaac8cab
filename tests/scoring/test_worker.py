"""The worker: one thread for all forward passes of a device."""

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine, blocked_engine

from secondpass import Call, Reranker, load_scorer
from secondpass.errors import ConfigurationError, QueueFull, ScoringError
from secondpass.records import Pair, UnscoredReason
from secondpass.scoring.batches import Job
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Encoded
from secondpass.scoring.worker import Worker, WorkerSettings

PAIRS = [Pair("query", "two words"), Pair("query", "word")]


def test_every_forward_pass_runs_on_the_workers_thread() -> None:
    """All calls of an engine run on one thread, which isn't the caller's."""
    engine = FakeEngine()
    scorer = CrossEncoder(engine)
    for _ in range(3):
        scorer.score_pairs(PAIRS)
    assert engine.threads == {"secondpass-cpu_0"}


def test_release_runs_on_the_workers_thread() -> None:
    """Release waits for the jobs in the queue, and is done when it returns."""
    engine = FakeEngine()
    CrossEncoder(engine).release()
    assert engine.released == 1


def test_two_engines_may_share_a_worker() -> None:
    """Two engines on one thread each get their own pairs, and each job has its own results."""
    worker, one, other = Worker("shared"), FakeEngine(), FakeEngine()
    jobs = [Job(engine, [Encoded(length, 0, {})], Call()) for length, engine in ((1, one), (2, other))]
    for job in jobs:
        worker.submit(job)
    for job in jobs:
        job.done.result()
    assert [job.rows for job in jobs] == [[[1.0]], [[2.0]]]
    assert (one.batches, other.batches) == ([[1]], [[2]])


def test_a_job_has_no_results_before_it_runs() -> None:
    """A new job has None for each pair."""
    assert Job(FakeEngine(), [Encoded(1, 0, {})] * 2, Call()).rows == [None, None]


def submit(worker: Worker, engine: FakeEngine, *lengths: int, call: Call | None = None) -> Job:
    """Queue a job of pairs with so many tokens."""
    job = Job(engine, [Encoded(length, 0, {}) for length in lengths], call or Call())
    worker.submit(job)
    return job


@pytest.fixture
def blocked() -> Iterator[tuple[FakeEngine, Worker, Job]]:
    """Yield an engine that is busy with the only batch of a job until ``unblock`` is set."""
    with blocked_engine() as engine:
        worker = Worker("test")
        job = submit(worker, engine, 1)
        engine.blocked.wait()
        yield engine, worker, job


Blocked = tuple[FakeEngine, Worker, Job]


def test_calls_that_wait_are_merged(blocked: Blocked) -> None:
    """Small calls that wait for the device run in one batch, and each gets its own scores."""
    engine, worker, _ = blocked
    jobs = [submit(worker, engine, length) for length in (5, 6, 7)]
    engine.unblock.set()
    for job in jobs:
        job.done.result()
    assert [job.rows for job in jobs] == [[[5.0]], [[6.0]], [[7.0]]]
    assert engine.batches == [[1], [5, 6, 7]]
    assert {job.merged for job in jobs} == {1}


def test_a_call_alone_is_not_merged() -> None:
    """The figure counts batches that were shared."""
    worker = Worker("test")
    job = submit(worker, FakeEngine(), 5, 6)
    job.done.result()
    assert (job.batches, job.merged) == (1, 0)


def test_a_call_with_a_deadline_is_in_no_others_batch(blocked: Blocked) -> None:
    """Its first pairs come first, and a larger batch would take longer."""
    engine, worker, _ = blocked
    jobs = [submit(worker, engine, 5), submit(worker, engine, 5, call=Call(deadline_ms=60_000))]
    engine.unblock.set()
    for job in jobs:
        job.done.result()
    assert [job.merged for job in jobs] == [0, 0]


def test_calls_of_very_different_lengths_are_not_merged(blocked: Blocked) -> None:
    """A short pair beside a long one would cost what the long one costs."""
    engine, worker, _ = blocked
    jobs = [submit(worker, engine, length) for length in (100, 5)]
    engine.unblock.set()
    for job in jobs:
        job.done.result()
    assert engine.batches == [[1], [100], [5]]


def test_an_engine_whose_scores_depend_on_the_batch_merges_nothing(blocked: Blocked) -> None:
    """The scores of one call would depend on another."""
    engine, worker, _ = blocked
    engine.facts = replace(engine.facts, spec=replace(engine.facts.spec, batch_invariant=False))
    jobs = [submit(worker, engine, 5) for _ in range(2)]
    engine.unblock.set()
    for job in jobs:
        job.done.result()
    assert engine.batches == [[1], [5], [5]]


@pytest.mark.slow
def test_many_threads_get_the_scores_of_one() -> None:
    """2,000 calls from 64 threads on one int8 scorer: each has the scores of a single caller, within 0.02 logit."""
    scorer = load_scorer("nano")
    texts = [f"A flea lives for {number} months if it finds a host. " * (number % 3 + 1) for number in range(40)]
    alone = dict(zip(texts, scorer.score("how long does a flea live", texts), strict=True))

    def call(number: int) -> bool:
        chosen = [texts[number % 40], texts[(7 * number + 3) % 40]]
        outcomes = scorer.score("how long does a flea live", chosen)
        expected = pytest.approx([alone[text].value for text in chosen], abs=0.02)
        return [outcome.value for outcome in outcomes] == expected

    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(call, range(2000)))


def test_a_short_call_is_not_behind_a_long_one(blocked: Blocked) -> None:
    """Calls take turns: a call of one batch runs after one batch of the call before it."""
    engine, worker, _ = blocked
    long = submit(worker, engine, *[9] * 12)  # three batches of four pairs
    short = submit(worker, engine, 2, 2, 2, 2)
    engine.unblock.set()
    short.done.result()
    long.done.result()
    assert [batch[0] for batch in engine.batches] == [1, 9, 2, 9, 9]


def test_a_failure_is_that_of_its_own_call(blocked: Blocked) -> None:
    """Where merged calls fail together, each runs again alone, and only the one that fails raises."""
    engine, worker, _ = blocked
    good, bad = submit(worker, engine, 5), submit(worker, engine, 6)
    engine.fails_on = 6
    engine.unblock.set()
    good.done.result()
    with pytest.raises(ScoringError, match="a pair of 6 tokens"):
        bad.done.result()
    assert good.rows == [[5.0]]


def test_a_call_that_has_gone_away_costs_nothing(blocked: Blocked) -> None:
    """A cancelled call that waits never runs."""
    engine, worker, _ = blocked
    call = Call()
    gone, other = submit(worker, engine, 5, call=call), submit(worker, engine, 6)
    call.cancel()
    engine.unblock.set()
    other.done.result()
    gone.done.result()
    assert gone.stopped is UnscoredReason.CANCELLED
    assert engine.batches == [[1], [6]]


def test_a_full_queue_refuses_calls() -> None:
    """More pairs than may wait raise ``QueueFull``; a large call alone is taken."""
    with blocked_engine() as engine:
        worker = Worker("test", WorkerSettings(max_pairs=3))
        submit(worker, engine, 1)
        engine.blocked.wait()
        large = submit(worker, engine, *[2] * 5)
        with pytest.raises(QueueFull, match="at most 3 pairs may wait for secondpass-test, and 5 do"):
            submit(worker, engine, 1)
        engine.unblock.set()
        large.done.result()
        assert large.rows == [[2.0]] * 5


def test_the_queue_takes_as_many_as_may_wait() -> None:
    """The limit itself is allowed, and one pair more isn't."""
    with blocked_engine() as engine:
        worker = Worker("test", WorkerSettings(max_pairs=3))
        submit(worker, engine, 1)
        engine.blocked.wait()
        submit(worker, engine, 1)
        with pytest.raises(QueueFull):
            submit(worker, engine, 1, 1, 1)
        last = submit(worker, engine, 1, 1)
        engine.unblock.set()
        last.done.result()


def test_a_full_queue_degrades_or_raises_as_any_failure() -> None:
    """A reranker returns the first stage's order, or lets the caller know, by its ``on_error``."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine, Worker("test", WorkerSettings(max_pairs=1)))
        waiting = [submit(scorer._worker, engine, 1)]
        engine.blocked.wait()
        waiting.append(submit(scorer._worker, engine, 1, 1))
        ranking = Reranker(scorer).rerank("query", ["b", "a"])
        assert "may wait" in str(ranking.degraded and ranking.degraded.detail)
        with pytest.raises(QueueFull):
            Reranker(scorer, on_error="raise").rerank("query", ["b", "a"])
        engine.unblock.set()
        for job in waiting:
            job.done.result()


def test_a_stuck_thread_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A batch that takes too long fails its call; the next calls run on another thread."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine, Worker("test", WorkerSettings(watchdog_seconds=0.0)))
        with pytest.raises(ScoringError, match="took more than 0 s on secondpass-test: its thread was given up"):
            scorer.score_pairs(PAIRS)
        engine.block_after = None
        assert scorer._worker.stuck == 1
        job = submit(scorer._worker, engine, 5)
        job.done.result()
        assert job.rows == [[5.0]]
        assert engine.threads == {"secondpass-test_0", "secondpass-test_1"}
        assert "thread was given up, 1 so far" in caplog.text


def test_as_a_deadline_nears_batches_shrink() -> None:
    """With a known cost, a batch has only as many pairs as the time that is left allows, the first ones first."""
    engine, worker = FakeEngine(rows=4), Worker("test")
    worker._queue._turns.token_seconds["fake"] = 100.0
    job = submit(worker, engine, 1, 2, 3, 4, call=Call(deadline_ms=900_000))
    job.done.result()
    assert engine.batches[0] == [1, 2]


def test_a_call_that_can_not_be_reached_in_time_is_not_queued(blocked: Blocked) -> None:
    """Where the calls before it take longer than its deadline, it returns at once."""
    engine, worker, _ = blocked
    submit(worker, engine, 5)
    worker._queue._turns.batch_seconds = 3600.0
    late = submit(worker, engine, 5, call=Call(deadline_ms=60_000))
    assert late.done.done()
    assert late.stopped is UnscoredReason.DEADLINE
    engine.unblock.set()


def test_no_thread_is_left_behind() -> None:
    """A worker that nothing refers to ends its thread."""
    scorer = CrossEncoder(FakeEngine())
    scorer.score_pairs(PAIRS)
    thread = scorer._worker._queue._thread
    assert thread is not None
    del scorer
    gc.collect()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_the_interpreter_ends_while_a_batch_runs() -> None:
    """A script may end while its last call still runs, here after a deadline: no hang, no crash."""
    script = """
import secondpass
scorer = secondpass.load_scorer("nano")
reranker = secondpass.Reranker(scorer, deadline_ms=20)
reranker.rerank("how long does a flea live", ["A flea lives for months. " * 40] * 64)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_loaded_model_opens_again_in_a_forked_process() -> None:
    """As behind a server that loads before it forks: each child has a model of its own, with the same scores."""
    scorer = load_scorer("nano")
    expected = scorer.score_pairs(PAIRS).outcomes
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [context.Process(target=lambda: results.put(scorer.score_pairs(PAIRS).outcomes)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [results.get() for child in children if child.exitcode == 0] == [expected] * 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("last", ["", "del scorer; gc.collect()"], ids=["used", "deleted"])
@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_forked_process_ends(tiny: Callable[..., Path], engine: str, last: str) -> None:
    """A child whose parent used a model scores, and ends by itself: neither waits for threads that stayed behind."""
    script = f"""
import gc, os, signal, sys, warnings
warnings.simplefilter("ignore")
import secondpass
scorer = secondpass.load_scorer({str(tiny(engine))!r}, engine={engine!r}, device="cpu")
texts = ["the cat sat " * 20 + str(number) for number in range(40)]
expected = scorer.score("fox", texts)
if os.fork() == 0:
    signal.alarm(100)
    assert scorer.score("fox", texts) == expected
    {last}
    sys.exit(7)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=240, check=False)
    assert done.returncode == 7, done.stderr


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_loads_and_scores() -> None:
    """Libraries that the thread imports aren't half-imported in the child, which opens its own model each time."""
    script = """
import os, signal, threading, time, warnings
warnings.simplefilter("ignore")
import secondpass
def use():
    while not done.is_set():
        secondpass.load_scorer("nano").score("fox", ["a fox", "the cat"])
done = threading.Event()
threading.Thread(target=use).start()
for turn in range(3):
    time.sleep(0.1 * turn)
    if os.fork() == 0:
        signal.alarm(60)
        secondpass.load_scorer("nano").score("fox", ["a fox"])
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7, turn
done.set()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=480, check=False)
    assert done.returncode == 0, done.stderr


def _score_in_child(scorer: CrossEncoder, results: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        scorer.score_pairs(PAIRS)
    except ConfigurationError as error:
        results.put(str(error))
    else:
        results.put("scored")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_use_in_a_forked_process_is_an_error() -> None:
    """In a forked child, which has no worker thread, a call raises at once instead of waiting for ever."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_score_in_child, args=(CrossEncoder(FakeEngine()), results))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 0
    assert "forked after it was created: create it there" in results.get()
