"""The device's own thread: deadlines, cancellation, memory and failures."""

import multiprocessing
import os
import sys

import pytest
from fake_engine import FakeEngine

from secondpass import Call
from secondpass.errors import ConfigurationError, ModelError, OutOfMemory, ScoringError
from secondpass.scores import Pair, Score, Unscored
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engines.base import Encoded, scoring_errors
from secondpass.scoring.worker import DEADLINE_BLOCK, Job, Worker


def words(*counts: int) -> list[Pair]:
    """Return pairs with texts of so many words."""
    return [Pair("query", "word " * count) for count in counts]


def values(outcomes: tuple[Score | Unscored, ...]) -> list[float | str]:
    """Return each outcome's value, or the reason why there is none."""
    return [outcome.value if isinstance(outcome, Score) else str(outcome.reason) for outcome in outcomes]


def test_the_order_of_the_pairs_is_restored() -> None:
    """The engine sees the longest first, the caller gets the order that was given."""
    engine = FakeEngine(rows=2)
    scored = CrossEncoder(engine).score_pairs(words(1, 5, 3, 4))
    assert engine.batches == [[5, 4], [3, 1]]
    assert values(scored.outcomes) == [1.0, 5.0, 3.0, 4.0]


def test_every_forward_pass_runs_on_the_workers_thread() -> None:
    """However many calls there are, the engine meets one thread, and it isn't the caller's."""
    engine = FakeEngine()
    scorer = CrossEncoder(engine)
    for _ in range(3):
        scorer.score_pairs(words(1, 2))
    assert engine.threads == {"secondpass-cpu_0"}


def test_a_deadline_of_nothing_runs_nothing() -> None:
    """A call that is over before it begins reaches no forward pass."""
    engine = FakeEngine()
    scored = CrossEncoder(engine).score_pairs(words(1, 2), call=Call(deadline_ms=0))
    assert values(scored.outcomes) == ["deadline", "deadline"]
    assert engine.batches == []


def test_cancelling_stops_between_batches() -> None:
    """What was done before the cancellation keeps its score; the rest says that it was cancelled."""
    call = Call()
    engine = FakeEngine(rows=1, call=call)
    scored = CrossEncoder(engine).score_pairs(words(3, 2, 1), call=call)
    assert values(scored.outcomes) == [3.0, "cancelled", "cancelled"]


def test_with_a_deadline_the_first_stages_best_are_scored_first() -> None:
    """With a deadline the pairs are done in blocks, so that a cut leaves out the last ones, not the shortest."""
    engine = FakeEngine(rows=64)
    counts = [1] * DEADLINE_BLOCK + [9]
    CrossEncoder(engine).score_pairs(words(*counts), call=Call(deadline_ms=3_600_000))
    assert engine.batches == [[1] * DEADLINE_BLOCK, [9]]


def test_a_batch_that_is_too_large_is_halved() -> None:
    """Out of memory, seven pairs become four and three, and those two and two, two and one."""
    engine = FakeEngine(rows=7, room=2)
    scored = CrossEncoder(engine).score_pairs(words(7, 6, 5, 4, 3, 2, 1))
    assert engine.batches == [[7, 6], [5, 4], [3, 2], [1]]
    assert values(scored.outcomes) == [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert (scored.stages[0].facts["halved"], scored.stages[0].facts["batches"]) == (3, 4)


def test_one_pair_without_room_is_out_of_memory() -> None:
    """A single pair can't be halved: the caller learns that there is no room."""
    with pytest.raises(OutOfMemory, match="no room for 1 pairs"):
        CrossEncoder(FakeEngine(rows=4, room=0)).score_pairs(words(1, 2, 3))


def test_an_engines_failure_reaches_the_caller() -> None:
    """What the worker's thread raised is raised where the call was made, and the next call finds a working thread."""
    engine = FakeEngine(error=ScoringError("the engine broke"))
    scorer = CrossEncoder(engine)
    with pytest.raises(ScoringError, match="the engine broke"):
        scorer.score_pairs(words(1))
    engine.error = None
    assert values(scorer.score_pairs(words(2)).outcomes) == [2.0]


def test_a_librarys_exception_becomes_a_scoring_error() -> None:
    """At the engine's boundary a foreign exception becomes ours, with its name, its words and itself as the cause."""
    with (
        pytest.raises(ScoringError, match="torch failed while scoring: RuntimeError: cuBLAS") as caught,
        scoring_errors("torch", (RuntimeError,)),
    ):
        raise RuntimeError("cuBLAS")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_our_own_errors_pass_the_boundary() -> None:
    """What is ours already isn't wrapped, though it is also a ValueError."""
    with pytest.raises(ModelError, match="wrong shape"), scoring_errors("torch", (ValueError,)):
        raise ModelError("wrong shape")


def test_the_stage_tells_what_was_done() -> None:
    """Pairs, batches, tokens with and without padding, and where it ran."""
    (stage,) = CrossEncoder(FakeEngine(rows=2)).score_pairs(words(4, 1, 3)).stages
    told = {name: stage.facts[name] for name in ("model", "device", "pairs", "batches", "tokens", "padded_tokens")}
    assert told == {
        "model": "fake",
        "device": "cpu",
        "pairs": 3,
        "batches": 2,
        "tokens": 4 + 1 + 3,
        "padded_tokens": 2 * 4 + 1 * 1,
    }


def test_releasing_happens_on_the_workers_thread() -> None:
    """Release waits its turn behind the work in hand, and is done when it returns."""
    engine = FakeEngine()
    CrossEncoder(engine).release()
    assert engine.released == 1


def test_warming_up_runs_the_engine_once() -> None:
    """A warm-up is one real forward pass."""
    engine = FakeEngine()
    CrossEncoder(engine).warmup()
    assert engine.batches == [[1]]


def test_a_worker_that_serves_two_engines_keeps_them_apart() -> None:
    """Two engines on one thread each get their own pairs."""
    worker, one, other = Worker("shared"), FakeEngine(), FakeEngine()
    futures = [worker.submit(Job(engine, [Encoded(n, 0, {})], Call())) for n, engine in ((1, one), (2, other))]
    assert [future.result().rows for future in futures] == [[[1.0]], [[2.0]]]
    assert (one.batches, other.batches) == ([[1]], [[2]])


def _score_in_child(scorer: CrossEncoder, results: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        scorer.score_pairs(words(1))
    except ConfigurationError as error:
        results.put(str(error))
    else:
        results.put("scored")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_told_to_load_its_own() -> None:
    """In a forked child the worker's thread isn't there: it raises at once instead of waiting for ever."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_score_in_child, args=(CrossEncoder(FakeEngine()), results))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 0
    assert "forked after it was loaded; load it in the child" in results.get()
