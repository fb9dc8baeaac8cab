"""The compressor in LangChain's traces: a run of its own, under the run that called it."""

from typing import Any
from uuid import uuid4

import pytest
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_worlds import QUESTION, TEXTS, BrokenScorer, Recorder, documents, ids, overlap_compressor

from secondpass import Reranker
from secondpass.errors import InputError, ScoringError
from secondpass.langchain import SecondPassRerank

NAME = "SecondPassRerank"


class FixedRetriever(BaseRetriever):
    """Finds the same documents for every question."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return documents()


async def call(compressor: SecondPassRerank, way: str, recorder: Recorder) -> list[Document]:
    """Call the compressor in one of its four ways, with the recorder listening."""
    given: dict[str, Any] = {"query": QUESTION, "documents": documents()}
    if way == "compress_documents":
        return list(compressor.compress_documents(documents(), QUESTION, callbacks=[recorder]))
    if way == "acompress_documents":
        return list(await compressor.acompress_documents(documents(), QUESTION, callbacks=[recorder]))
    if way == "invoke":
        return list(compressor.invoke(given, {"callbacks": [recorder]}))
    return list(await compressor.ainvoke(given, {"callbacks": [recorder]}))


WAYS = ["compress_documents", "acompress_documents", "invoke", "ainvoke"]


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_call_shows_up_as_one_run(way: str) -> None:
    """The run carries the compressor's name, the question and documents, and ends with what was kept and dropped."""
    recorder = Recorder()
    found = await call(overlap_compressor(top_n=2), way, recorder)
    [run] = recorder.named(NAME)
    assert run.inputs == {"query": QUESTION, "documents": documents()}
    assert run.outputs == {"documents": found, "dropped": 3, "degraded": ""}
    assert (run.error, ids(found)) == (None, ["answer", "rain"])


@pytest.mark.parametrize("way", WAYS)
async def test_failure_ends_the_run_with_the_error(way: str) -> None:
    """With ``on_error="raise"`` the run ends in an error, never open."""
    recorder = Recorder()
    with pytest.raises(ScoringError) as raised:
        await call(SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise")), way, recorder)
    [run] = recorder.named(NAME)
    assert run.error is raised.value
    assert run.outputs is None


@pytest.mark.parametrize("way", WAYS)
async def test_degraded_run_says_so_in_its_outputs(way: str) -> None:
    """A run that fell back to the first stage is visible as such in the trace."""
    recorder = Recorder()
    await call(SecondPassRerank(reranker=Reranker(BrokenScorer())), way, recorder)
    [run] = recorder.named(NAME)
    assert run.outputs["degraded"] == "scorer failed: the engine is on fire"


def test_run_stands_under_the_compression_retrievers_run() -> None:
    """Inside LangChain's compression retriever the run's parent is the retriever's run."""
    recorder = Recorder()
    retriever = ContextualCompressionRetriever(
        base_compressor=overlap_compressor(top_n=1), base_retriever=FixedRetriever()
    )
    assert ids(retriever.invoke(QUESTION, {"callbacks": [recorder]})) == ["answer"]
    [outer], [run] = recorder.named("ContextualCompressionRetriever"), recorder.named(NAME)
    assert run.parent == outer.run_id


async def test_run_stands_under_the_compression_retrievers_run_on_the_async_path() -> None:
    """``ainvoke`` of the compression retriever gives the same tree."""
    recorder = Recorder()
    retriever = ContextualCompressionRetriever(
        base_compressor=overlap_compressor(top_n=1), base_retriever=FixedRetriever()
    )
    assert ids(await retriever.ainvoke(QUESTION, {"callbacks": [recorder]})) == ["answer"]
    [outer], [run] = recorder.named("ContextualCompressionRetriever"), recorder.named(NAME)
    assert run.parent == outer.run_id


def test_run_stands_under_the_chains_run() -> None:
    """As a step of a chain the run's parent is the chain's run."""
    recorder = Recorder()
    chain = RunnableLambda(lambda query: {"query": query, "documents": documents()}) | overlap_compressor()
    chain.invoke(QUESTION, {"callbacks": [recorder]})
    [outer], [run] = recorder.named("RunnableSequence"), recorder.named(NAME)
    assert run.parent == outer.run_id


@pytest.mark.parametrize("manager", [CallbackManager, AsyncCallbackManager], ids=["sync", "async"])
def test_synchronous_call_takes_either_kind_of_manager(manager: type[Any]) -> None:
    """LangChain's default async path hands an async manager to a synchronous compressor, and that works."""
    recorder = Recorder()
    overlap_compressor().compress_documents(documents(), QUESTION, callbacks=manager.configure([recorder]))
    [run] = recorder.named(NAME)
    assert len(run.outputs["documents"]) == len(TEXTS)


@pytest.mark.parametrize("manager", [CallbackManager, AsyncCallbackManager], ids=["sync", "async"])
def test_manager_of_either_kind_keeps_its_parent_run(manager: type[Any]) -> None:
    """The run stands under the run that the manager belongs to."""
    recorder, parent = Recorder(), uuid4()
    callbacks = manager([recorder], parent_run_id=parent)
    overlap_compressor().compress_documents(documents(), QUESTION, callbacks=callbacks)
    assert [run.parent for run in recorder.named(NAME)] == [parent]


def test_run_can_be_renamed_in_the_config() -> None:
    """A ``run_name`` in the config names the run."""
    recorder = Recorder()
    overlap_compressor().invoke(
        {"query": QUESTION, "documents": documents()}, {"callbacks": [recorder], "run_name": "second pass"}
    )
    assert len(recorder.named("second pass")) == 1


def test_changing_a_traced_document_does_not_change_the_result() -> None:
    """A handler that rewrites what it was shown changes nothing for the caller."""

    class Vandal(Recorder):
        def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
            for document in outputs["documents"]:
                document.page_content = "gone"

    found = overlap_compressor().compress_documents(documents(), QUESTION, callbacks=[Vandal()])
    assert {document.page_content for document in found} == set(TEXTS.values())


@pytest.mark.parametrize(
    "given", [{"query": QUESTION}, {"documents": []}, QUESTION], ids=["no documents", "no query", "string"]
)
def test_chain_that_hands_over_something_else_is_told_what_is_wanted(given: Any) -> None:
    """The error names the two keys, and what came."""
    with pytest.raises(InputError, match=r'must hand over \{"query": str, "documents"'):
        overlap_compressor().invoke(given)


def test_bound_top_n_counts_for_the_chain() -> None:
    """``bind(top_n=...)`` narrows the step without changing the compressor."""
    compressor = overlap_compressor(top_n=4)
    given = {"query": QUESTION, "documents": documents()}
    assert len(compressor.bind(top_n=1).invoke(given)) == 1
    assert len(compressor.invoke(given)) == 4


async def test_batches_answer_each_question() -> None:
    """``batch`` and ``abatch`` give one result for each input, in order."""
    compressor = overlap_compressor(top_n=1)
    given = [{"query": query, "documents": documents()} for query in ("salt", QUESTION)]
    expected = [["bread"], ["answer"]]
    assert [ids(found) for found in compressor.batch(given)] == expected
    assert [ids(found) for found in await compressor.abatch(given)] == expected
