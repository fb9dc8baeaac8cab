"""Deadlines, cancellation and ``arerank``."""

import asyncio
from contextvars import ContextVar

import pytest
from fake_engine import ExpiresWhenBlocked, blocked_engine
from worlds import Scripted, texts

from secondpass import Call, OverlapScorer, Reranker
from secondpass.ranking import Cause
from secondpass.records import Unscored, UnscoredReason
from secondpass.scoring.cross_encoder import CrossEncoder

LATE = Unscored(UnscoredReason.DEADLINE)


def test_candidates_unscored_at_the_deadline_follow_the_scored() -> None:
    """The scored come best first, then the rest in the first stage's order, without a score."""
    scorer = Scripted({"late 1": LATE, "low": -9.0, "late 2": LATE, "high": 9.0})
    ranking = Reranker(scorer).rerank("query", ["late 1", "low", "late 2", "high"])
    assert [(kept.text, kept.score) for kept in ranking] == [
        ("high", 9.0),
        ("low", -9.0),
        ("late 1", None),
        ("late 2", None),
    ]
    assert str(ranking.degraded) == "deadline: 2 of 4 candidates without a score, in first-stage order"


def test_a_deadline_of_zero_gives_the_first_stages_order() -> None:
    """With 0 ms no candidate is scored, and the order is the first stage's."""
    ranking = Reranker(OverlapScorer(), deadline_ms=0).rerank("fox", ["dog", "fox"])
    assert texts(ranking) == ["dog", "fox"]
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.DEADLINE


def test_a_calls_deadline_replaces_the_rerankers() -> None:
    """The deadline of a given call counts, and not that of the reranker."""
    with_deadline, without = Reranker(OverlapScorer(), deadline_ms=0), Reranker(OverlapScorer())
    assert with_deadline.rerank("fox", ["dog", "fox"], call=Call()).degraded is None
    assert without.rerank("fox", ["dog", "fox"], call=Call(deadline_ms=0)).degraded is not None


def test_a_cancelled_call_is_marked() -> None:
    """A cancelled call gives the first stage's order, marked as cancelled."""
    call = Call()
    call.cancel()
    ranking = Reranker(OverlapScorer()).rerank("fox", ["dog", "fox"], call=call)
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.CANCELLED


def test_a_stuck_engine_is_left_at_the_deadline() -> None:
    """While the engine doesn't return, the call returns at its deadline with the first stage's order, marked."""
    with blocked_engine() as engine:
        ranking = Reranker(CrossEncoder(engine), deadline_ms=50).rerank("query", ["b", "a a"])
    assert [(kept.text, kept.score) for kept in ranking] == [("b", None), ("a a", None)]
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.DEADLINE


def test_scores_from_before_the_deadline_are_used() -> None:
    """Where the engine is stuck after the first batch, its scores count and the other candidates follow, marked."""
    with blocked_engine(rows=1, block_after=1) as engine:
        call = ExpiresWhenBlocked(engine)
        ranking = Reranker(CrossEncoder(engine)).rerank("query", ["b", "a", "the longest text"], call=call)
    assert [(kept.text, kept.score) for kept in ranking] == [("the longest text", 3.0), ("b", None), ("a", None)]
    assert str(ranking.degraded) == "deadline: 2 of 3 candidates without a score, in first-stage order"


async def test_arerank_returns_what_rerank_returns() -> None:
    """``arerank`` gives the ranking of ``rerank``, also for several calls at once."""
    reranker = Reranker(Scripted({"fox": 3.0}))
    rankings = await asyncio.gather(*(reranker.arerank("query", ["dog", "fox"]) for _ in range(8)))
    expected = reranker.rerank("query", ["dog", "fox"])
    assert [(ranking.kept, ranking.dropped) for ranking in rankings] == [(expected.kept, expected.dropped)] * 8


async def test_arerank_passes_the_context_on() -> None:
    """Context variables of the task are there in the thread that reranks."""
    variable: ContextVar[str] = ContextVar("variable", default="")
    values: list[str] = []
    variable.set("the task's")
    await Reranker(Scripted({}), observers=[lambda _: values.append(variable.get())]).arerank("query", ["fox"])
    assert values == ["the task's"]


async def test_cancelling_the_task_stops_scoring() -> None:
    """When the task of ``arerank`` is cancelled, scoring stops after the batch in progress."""
    with blocked_engine(rows=1) as engine:
        scorer = CrossEncoder(engine)
        task = asyncio.create_task(Reranker(scorer).arerank("query", ["a", "b", "c"]))
        await asyncio.to_thread(engine.blocked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.to_thread(scorer.release)  # runs after the jobs in the queue
    assert engine.batches == [[1]]
