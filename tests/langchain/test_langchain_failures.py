"""The compressor when scoring fails, at a deadline, and when its task is cancelled."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_support import QUESTION, TEXTS, BrokenScorer, WaitingScorer, documents, ids, overlap_compressor

from secondpass import OverlapScorer, Reranker
from secondpass.errors import InputError, ScoringError
from secondpass.langchain import SecondPassRerank


def degraded(found: Sequence[Document]) -> set[str]:
    """Return the causes in the documents' records."""
    return {str(document.metadata["secondpass"].get("degraded")).split(":")[0] for document in found}


def test_failing_scorer_gives_the_first_stages_order_marked() -> None:
    """Every document is returned in the input's order, with the cause, and ``relevance_score`` None."""
    found = SecondPassRerank(reranker=Reranker(BrokenScorer())).compress_documents(documents(), QUESTION)
    assert ids(found) == list(TEXTS)
    assert {document.metadata["secondpass"]["degraded"] for document in found} == {"scorer failed: the engine failed"}
    assert {document.metadata["relevance_score"] for document in found} == {None}


async def test_failing_scorer_degrades_on_the_async_path_too() -> None:
    """``acompress_documents`` returns the first stage's order as well."""
    found = await SecondPassRerank(reranker=Reranker(BrokenScorer())).acompress_documents(documents(), QUESTION)
    assert ids(found) == list(TEXTS)
    assert degraded(found) == {"scorer failed"}


def test_degraded_ranking_still_keeps_top_n() -> None:
    """``top_n`` applies to the first stage's order too."""
    found = SecondPassRerank(reranker=Reranker(BrokenScorer()), top_n=2).compress_documents(documents(), QUESTION)
    assert ids(found) == ["bread", "wall"]


async def test_on_error_raise_raises_on_both_paths() -> None:
    """With ``on_error="raise"`` the scorer's error is raised."""
    compressor = SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise"))
    with pytest.raises(ScoringError, match="engine failed"):
        compressor.compress_documents(documents(), QUESTION)
    with pytest.raises(ScoringError, match="engine failed"):
        await compressor.acompress_documents(documents(), QUESTION)


async def test_rerankers_deadline_holds_on_both_paths() -> None:
    """A deadline of 0 ms gives the first stage's order, and the record has the cause."""
    compressor = SecondPassRerank(reranker=Reranker(OverlapScorer(), deadline_ms=0))
    for found in (
        compressor.compress_documents(documents(), QUESTION),
        await compressor.acompress_documents(documents(), QUESTION),
    ):
        assert ids(found) == list(TEXTS)
        assert degraded(found) == {"deadline"}


def test_empty_query_degrades() -> None:
    """There is nothing to score for an empty query, so the first stage's order is returned."""
    found = overlap_compressor().compress_documents(documents(), " ")
    assert ids(found) == list(TEXTS)
    assert degraded(found) == {"empty query"}


def test_query_that_is_no_string_raises() -> None:
    """A query of another type is an ``InputError``."""
    with pytest.raises(InputError, match="the query must be a string, got NoneType"):
        overlap_compressor().compress_documents(documents(), None)  # type: ignore[arg-type]


async def test_event_loop_goes_on_while_a_scorer_works() -> None:
    """The event loop isn't blocked: it runs the code that lets the scorer end."""
    scorer = WaitingScorer()
    task = asyncio.create_task(SecondPassRerank(reranker=Reranker(scorer)).acompress_documents(documents(), QUESTION))
    assert await asyncio.to_thread(scorer.begun.wait, 30)
    scorer.may_end.set()
    assert len(await task) == len(TEXTS)


def test_one_compressor_serves_several_event_loops() -> None:
    """A compressor isn't bound to the event loop that used it first."""
    compressor = overlap_compressor(top_n=1)
    firsts = [asyncio.run(compressor.acompress_documents(documents(), QUESTION))[0].id for _ in range(2)]
    assert firsts == ["answer", "answer"]


async def test_concurrent_calls_keep_their_queries_apart() -> None:
    """Concurrent calls each get the result for their own query."""
    compressor = overlap_compressor(top_n=1)
    questions = ["salt", "september swallows fast", "warm wall", "rains"] * 4
    found = await asyncio.gather(*(compressor.acompress_documents(documents(), question) for question in questions))
    assert [documents_found[0].id for documents_found in found] == ["bread", "fast", "wall", "rain"] * 4


class Runs(BaseCallbackHandler):
    """Counts the runs that were started, and keeps the errors that ended them."""

    def __init__(self) -> None:
        self.started = 0
        self.errors: list[BaseException] = []

    def on_chain_start(self, *args: object, **kwargs: object) -> None:
        self.started += 1

    def on_chain_error(self, error: BaseException, **kwargs: object) -> None:
        self.errors.append(error)


def test_a_keyword_that_would_be_ignored_is_refused() -> None:
    """``invoke`` accepts ``top_n``; another keyword is an error."""
    compressor = overlap_compressor()
    with pytest.raises(InputError, match="top_k"):
        compressor.invoke({"query": QUESTION, "documents": documents()}, top_k=1)
    assert len(compressor.invoke({"query": QUESTION, "documents": documents()}, top_n=1)) == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"query": QUESTION},
        {"query": 5, "documents": documents()},
        {"query": QUESTION, "documents": [5]},
        {"query": QUESTION, "documents": documents(), "exclude": 5},
        {"query": QUESTION, "documents": documents(), "top_n": 5},
        "text",
    ],
    ids=str,
)
async def test_input_errors_of_a_chain_are_traced(given: Any) -> None:
    """Whatever is wrong with an input, the run of the call has begun and ends with the error, in both forms."""
    compressor, runs = overlap_compressor(), Runs()
    with pytest.raises(InputError):
        compressor.invoke(given, {"callbacks": [runs]})
    with pytest.raises(InputError):
        await compressor.ainvoke(given, {"callbacks": [runs]})
    assert (runs.started, [type(error) for error in runs.errors]) == (2, [InputError, InputError])


async def test_input_errors_of_a_direct_call_are_traced() -> None:
    """``rank`` and ``arank`` trace wrong documents, too."""
    compressor, runs = overlap_compressor(), Runs()
    with pytest.raises(InputError):
        compressor.rank([5], QUESTION, callbacks=[runs])  # type: ignore[list-item]
    with pytest.raises(InputError):
        await compressor.arank(iter([5]), QUESTION, callbacks=[runs])  # type: ignore[arg-type]
    assert (runs.started, [type(error) for error in runs.errors]) == (2, [InputError, InputError])
