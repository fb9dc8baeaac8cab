"""The compressor in LangChain's traces: a run of its own, whose parent is the run that called it."""

from typing import Any
from uuid import uuid4

import pytest
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_support import QUESTION, TEXTS, BrokenScorer, Recorder, documents, ids, overlap_compressor

from secondpass import Reranker
from secondpass.errors import InputError, ScoringError
from secondpass.langchain import SecondPassRerank

NAME = "SecondPassRerank"


class FixedRetriever(BaseRetriever):
    """Returns the same documents for every query."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return documents()


async def call(compressor: SecondPassRerank, way: str, recorder: Recorder) -> list[Document]:
    """Call one of the compressor's four methods with the recorder as callback handler."""
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
async def test_each_method_is_traced_as_one_run(way: str) -> None:
    """The run has the compressor's name, query and documents as inputs, and the kept ones as outputs."""
    recorder = Recorder()
    found = await call(overlap_compressor(top_n=2), way, recorder)
    [run] = recorder.named(NAME)
    assert run.inputs == {"query": QUESTION, "documents": documents()}
    assert run.outputs == {"documents": found, "dropped": 3, "degraded": "", "nothing_relevant": False}
    assert (run.error, ids(found)) == (None, ["answer", "rain"])


@pytest.mark.parametrize("way", WAYS)
async def test_failure_ends_the_run_with_the_error(way: str) -> None:
    """With ``on_error="raise"`` the run ends with the error, and is never left open."""
    recorder = Recorder()
    with pytest.raises(ScoringError) as raised:
        await call(SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise")), way, recorder)
    [run] = recorder.named(NAME)
    assert run.error is raised.value
    assert run.outputs is None


@pytest.mark.parametrize("way", WAYS)
async def test_degraded_run_has_the_cause_in_its_outputs(way: str) -> None:
    """The trace shows that a run returned the first stage's order, and why."""
    recorder = Recorder()
    await call(SecondPassRerank(reranker=Reranker(BrokenScorer())), way, recorder)
    [run] = recorder.named(NAME)
    assert run.outputs["degraded"] == "scorer failed: the engine failed"


def test_compression_retrievers_run_is_the_parent() -> None:
    """Inside LangChain's compression retriever the run's parent is the retriever's run."""
    recorder = Recorder()
    retriever = ContextualCompressionRetriever(
        base_compressor=overlap_compressor(top_n=1), base_retriever=FixedRetriever()
    )
    assert ids(retriever.invoke(QUESTION, {"callbacks": [recorder]})) == ["answer"]
    [outer], [run] = recorder.named("ContextualCompressionRetriever"), recorder.named(NAME)
    assert run.parent == outer.run_id


async def test_compression_retrievers_run_is_the_parent_on_the_async_path() -> None:
    """``ainvoke`` of the compression retriever gives the same parent."""
    recorder = Recorder()
    retriever = ContextualCompressionRetriever(
        base_compressor=overlap_compressor(top_n=1), base_retriever=FixedRetriever()
    )
    assert ids(await retriever.ainvoke(QUESTION, {"callbacks": [recorder]})) == ["answer"]
    [outer], [run] = recorder.named("ContextualCompressionRetriever"), recorder.named(NAME)
    assert run.parent == outer.run_id


def test_chains_run_is_the_parent() -> None:
    """As a step of a chain the run's parent is the chain's run."""
    recorder = Recorder()
    chain = RunnableLambda(lambda query: {"query": query, "documents": documents()}) | overlap_compressor()
    chain.invoke(QUESTION, {"callbacks": [recorder]})
    [outer], [run] = recorder.named("RunnableSequence"), recorder.named(NAME)
    assert run.parent == outer.run_id


@pytest.mark.parametrize("manager", [CallbackManager, AsyncCallbackManager], ids=["sync", "async"])
def test_synchronous_call_accepts_both_kinds_of_callback_manager(manager: type[Any]) -> None:
    """LangChain's default async path passes an async manager to a synchronous compressor, and that works."""
    recorder = Recorder()
    overlap_compressor().compress_documents(documents(), QUESTION, callbacks=manager.configure([recorder]))
    [run] = recorder.named(NAME)
    assert len(run.outputs["documents"]) == len(TEXTS)


@pytest.mark.parametrize("manager", [CallbackManager, AsyncCallbackManager], ids=["sync", "async"])
def test_both_kinds_of_callback_manager_keep_their_parent_run(manager: type[Any]) -> None:
    """The run's parent is the run to which the manager belongs."""
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


@pytest.mark.parametrize(
    "given", [{"query": QUESTION}, {"documents": []}, QUESTION], ids=["no documents", "no query", "string"]
)
def test_wrong_input_of_a_chain_is_refused(given: Any) -> None:
    """The error names the two keys, and what was given."""
    with pytest.raises(InputError, match=r'input must be \{"query": str, "documents"'):
        overlap_compressor().invoke(given)


def test_bound_top_n_applies_to_the_chain() -> None:
    """``bind(top_n=...)`` limits the step without changing the compressor."""
    compressor = overlap_compressor(top_n=4)
    given = {"query": QUESTION, "documents": documents()}
    assert len(compressor.bind(top_n=1).invoke(given)) == 1
    assert len(compressor.invoke(given)) == 4


async def test_batches_give_one_result_for_each_input() -> None:
    """``batch`` and ``abatch`` return one result for each input, in order."""
    compressor = overlap_compressor(top_n=1)
    given = [{"query": query, "documents": documents()} for query in ("salt", QUESTION)]
    expected = [["bread"], ["answer"]]
    assert [ids(found) for found in compressor.batch(given)] == expected
    assert [ids(found) for found in await compressor.abatch(given)] == expected
