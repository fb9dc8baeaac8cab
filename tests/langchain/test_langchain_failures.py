"""What the compressor does when scoring fails, when time is up, and when nobody waits any more."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_worlds import QUESTION, TEXTS, BrokenScorer, documents, ids, overlap_compressor

from secondpass import Call, OverlapScorer, Reranker
from secondpass.errors import InputError, ScoringError
from secondpass.langchain import SecondPassRerank
from secondpass.scores import Pair, Scored, UnscoredReason


class WaitingScorer(OverlapScorer):
    """Says that it has begun, waits until it may end, and keeps its call."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.call: Call | None = None

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.call = call
        self.begun.set()
        self.may_end.wait(30)
        return super().score_pairs(pairs, call=call)


def degraded(found: Sequence[Document]) -> set[str]:
    """Return the causes that the documents' entries tell."""
    return {str(document.metadata["secondpass"].get("degraded")).split(":")[0] for document in found}


def test_failing_scorer_gives_the_first_stages_order_marked() -> None:
    """Every document comes back in the order in which it came, with the cause and without a score."""
    found = SecondPassRerank(reranker=Reranker(BrokenScorer())).compress_documents(documents(), QUESTION)
    assert ids(found) == list(TEXTS)
    assert {document.metadata["secondpass"]["degraded"] for document in found} == {
        "scorer failed: the engine is on fire"
    }
    assert not any("relevance_score" in document.metadata for document in found)


async def test_failing_scorer_degrades_on_the_async_path_too() -> None:
    """``acompress_documents`` gives the first stage's order as well."""
    found = await SecondPassRerank(reranker=Reranker(BrokenScorer())).acompress_documents(documents(), QUESTION)
    assert ids(found) == list(TEXTS)
    assert degraded(found) == {"scorer failed"}


def test_degraded_ranking_still_keeps_top_n() -> None:
    """The limits hold for the first stage's order too."""
    found = SecondPassRerank(reranker=Reranker(BrokenScorer()), top_n=2).compress_documents(documents(), QUESTION)
    assert ids(found) == ["bread", "wall"]


async def test_on_error_raise_raises_on_both_paths() -> None:
    """Those who prefer it get the error."""
    compressor = SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise"))
    with pytest.raises(ScoringError, match="on fire"):
        compressor.compress_documents(documents(), QUESTION)
    with pytest.raises(ScoringError, match="on fire"):
        await compressor.acompress_documents(documents(), QUESTION)


async def test_rerankers_deadline_holds_on_both_paths() -> None:
    """A deadline that is over at once leaves the first stage's order, and the entry says why."""
    compressor = SecondPassRerank(reranker=Reranker(OverlapScorer(), deadline_ms=0))
    for found in (
        compressor.compress_documents(documents(), QUESTION),
        await compressor.acompress_documents(documents(), QUESTION),
    ):
        assert ids(found) == list(TEXTS)
        assert degraded(found) == {"deadline"}


def test_question_that_is_empty_degrades() -> None:
    """Nothing can be read for an empty question, so the first stage's order stands."""
    found = overlap_compressor().compress_documents(documents(), " ")
    assert ids(found) == list(TEXTS)
    assert degraded(found) == {"empty query"}


def test_question_that_is_no_string_raises() -> None:
    """A question of another type is a mistake of the program."""
    with pytest.raises(InputError, match="the query must be a string, got NoneType"):
        overlap_compressor().compress_documents(documents(), None)  # type: ignore[arg-type]


async def test_cancelled_task_cancels_the_call() -> None:
    """When the awaiting task is cancelled, the scorer's call says so, and the cancellation goes through."""
    scorer = WaitingScorer()
    compressor = SecondPassRerank(reranker=Reranker(scorer))
    task = asyncio.create_task(compressor.acompress_documents(documents(), QUESTION))
    try:
        assert await asyncio.to_thread(scorer.begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scorer.call is not None
        assert scorer.call.stop_reason() is UnscoredReason.CANCELLED
    finally:
        scorer.may_end.set()


async def test_event_loop_goes_on_while_a_scorer_works() -> None:
    """The awaiting loop is free: it is what lets the scorer end."""
    scorer = WaitingScorer()
    task = asyncio.create_task(SecondPassRerank(reranker=Reranker(scorer)).acompress_documents(documents(), QUESTION))
    assert await asyncio.to_thread(scorer.begun.wait, 30)
    scorer.may_end.set()
    assert len(await task) == len(TEXTS)


def test_one_compressor_serves_several_event_loops() -> None:
    """Nothing in a compressor is bound to the loop that used it first."""
    compressor = overlap_compressor(top_n=1)
    firsts = [asyncio.run(compressor.acompress_documents(documents(), QUESTION))[0].id for _ in range(2)]
    assert firsts == ["answer", "answer"]


async def test_calls_share_the_compressors_threads() -> None:
    """A compressor has one pool of threads, and doesn't start another for each call."""
    compressor = overlap_compressor()
    await compressor.acompress_documents(documents(), QUESTION)
    pool = compressor._executor
    await compressor.acompress_documents(documents(), QUESTION)
    assert pool is not None
    assert compressor._executor is pool


async def test_concurrent_calls_keep_their_questions_apart() -> None:
    """Calls that run at once each get the answer to their own question."""
    compressor = overlap_compressor(top_n=1)
    questions = ["salt", "september swallows fast", "warm wall", "rains"] * 4
    found = await asyncio.gather(*(compressor.acompress_documents(documents(), question) for question in questions))
    assert [documents_found[0].id for documents_found in found] == ["bread", "fast", "wall", "rain"] * 4


class StartedRuns(BaseCallbackHandler):
    """Counts the runs that were begun."""

    started = 0

    def on_chain_start(self, *args: object, **kwargs: object) -> None:
        self.started += 1


def test_a_keyword_that_would_be_ignored_is_refused() -> None:
    """A call in a chain takes ``top_n``; another setting is an error, raised before a trace shows a run begun."""
    compressor, runs = overlap_compressor(), StartedRuns()
    with pytest.raises(InputError, match="top_k"):
        compressor.invoke({"query": QUESTION, "documents": documents()}, {"callbacks": [runs]}, top_k=1)
    assert runs.started == 0
    assert len(compressor.invoke({"query": QUESTION, "documents": documents()}, top_n=1)) == 1
