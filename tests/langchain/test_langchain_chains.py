"""Complete chains with Chroma, the compressor, a prompt, and an LLM that records its prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_support import (
    BY_RELEVANCE,
    QUESTION,
    TEXTS,
    Recorder,
    WordEmbeddings,
    documents,
    ids,
    overlap_compressor,
    tokens,
)

from secondpass import ContextBudget
from secondpass.langchain import SecondPassRerank, TwoStageRetriever

SYSTEM = "Answer from the context.\n<context>\n{context}\n</context>"


class BestAtTheEnds(BaseDocumentTransformer):
    """Puts the best documents at both ends, as LangChain's ``LongContextReorder`` does."""

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> Sequence[Document]:
        return [*documents[::2], *documents[1::2][::-1]]


class DropBread(BaseDocumentTransformer):
    """Drops a document before the compressor runs."""

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> Sequence[Document]:
        return [document for document in documents if document.id != "bread"]


@pytest.fixture
def store(tmp_path: Path) -> Chroma:
    """Return a Chroma collection on disk that holds the five documents."""
    store = Chroma(
        collection_name="birds",
        embedding_function=WordEmbeddings(),
        client=chromadb.PersistentClient(str(tmp_path)),
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_documents(documents())
    return store


def join(found: Sequence[Document]) -> str:
    """Join the documents as in the prompt."""
    return "\n\n".join(document.page_content for document in found)


def answering(store: Chroma, compressor: SecondPassRerank, llm: FakeListChatModel) -> Runnable[str, str]:
    """Return a complete chain."""
    prompt = ChatPromptTemplate.from_messages([("system", SYSTEM), ("human", "{query}")])
    return (
        {"query": RunnablePassthrough(), "documents": store.as_retriever(search_kwargs={"k": 5})}
        | RunnablePassthrough.assign(context=compressor | join)
        | prompt
        | llm
        | StrOutputParser()
    )


def shown_context(recorder: Recorder) -> str:
    """Return the context in the prompt that the LLM received."""
    system = str(recorder.messages[0].content)
    return system.split("<context>\n")[1].split("\n</context>", maxsplit=1)[0]


def test_pipeline_mixes_compressor_and_transformers() -> None:
    """In LangChain's pipeline the compressor works between transformers, which see the reranked order."""
    pipeline = DocumentCompressorPipeline(transformers=[DropBread(), overlap_compressor(), BestAtTheEnds()])
    assert ids(pipeline.compress_documents(documents(), QUESTION)) == ["answer", "fast", "wall", "rain"]


async def test_pipeline_works_on_the_async_path() -> None:
    """``acompress_documents`` of the pipeline gives the same."""
    pipeline = DocumentCompressorPipeline(transformers=[DropBread(), overlap_compressor(), BestAtTheEnds()])
    assert ids(await pipeline.acompress_documents(documents(), QUESTION)) == ["answer", "fast", "wall", "rain"]


def test_pipeline_traces_the_compressor() -> None:
    """The pipeline passes its callbacks on, and the compressor is a run in them."""
    recorder = Recorder()
    pipeline = DocumentCompressorPipeline(transformers=[overlap_compressor()])
    pipeline.compress_documents(documents(), QUESTION, callbacks=[recorder])
    assert len(recorder.named("SecondPassRerank")) == 1


async def test_compression_retriever_over_chroma(store: Chroma) -> None:
    """LangChain's compression retriever returns Chroma's documents in the reranked order, on both paths."""
    retriever = ContextualCompressionRetriever(
        base_compressor=overlap_compressor(), base_retriever=store.as_retriever(search_kwargs={"k": 5})
    )
    assert ids(retriever.invoke(QUESTION)) == BY_RELEVANCE
    assert ids(await retriever.ainvoke(QUESTION)) == BY_RELEVANCE


def test_llm_receives_the_best_texts_that_fit_the_budget(store: Chroma) -> None:
    """The context in the prompt fits the budget to the token, and the next text would not have fitted."""
    recorder = Recorder()
    compressor = overlap_compressor(budget=ContextBudget(18, counter=tokens), policy="prefix")
    answer = answering(store, compressor, FakeListChatModel(responses=["September."])).invoke(
        QUESTION, {"callbacks": [recorder]}
    )
    assert answer == "September."
    assert shown_context(recorder) == f"{TEXTS['answer']}\n\n{TEXTS['rain']}"
    assert len(tokens(shown_context(recorder))) == 18


async def test_llm_receives_the_same_on_the_async_path(store: Chroma) -> None:
    """``ainvoke`` of the whole chain gives the LLM the same context."""
    recorder = Recorder()
    compressor = overlap_compressor(budget=ContextBudget(18, counter=tokens), policy="prefix")
    chain = answering(store, compressor, FakeListChatModel(responses=["September."]))
    assert await chain.ainvoke(QUESTION, {"callbacks": [recorder]}) == "September."
    assert shown_context(recorder) == f"{TEXTS['answer']}\n\n{TEXTS['rain']}"


@pytest.mark.parametrize("window", [60, 70, 80])
def test_budget_from_the_llms_window_reserves_tokens_for_the_answer(store: Chroma, window: int) -> None:
    """With a budget computed for each query the whole prompt and the answer stay within the LLM's window."""
    llm = FakeListChatModel(responses=["September."], profile={"max_input_tokens": window})
    prompt = SYSTEM.format(context="")

    def budget(query: str) -> ContextBudget:
        return ContextBudget.for_llm(llm, reserve=16, prompt=prompt, question=query, counter=tokens)

    recorder = Recorder()
    answering(store, overlap_compressor(budget=budget), llm).invoke(QUESTION, {"callbacks": [recorder]})
    sent = sum(len(tokens(str(message.content))) for message in recorder.messages)
    assert TEXTS["answer"] in shown_context(recorder)
    assert sent + 16 <= window


@pytest.mark.parametrize("limit", [30, 45])
def test_real_model_in_a_complete_chain(store: Chroma, reranker_folder: Path, limit: int) -> None:
    """With a real model the answer is first in the context, which fits its budget."""
    recorder = Recorder()
    budget = ContextBudget(limit, counter=tokens)
    compressor = SecondPassRerank(model=str(reranker_folder), budget=budget)
    chain = answering(store, compressor, FakeListChatModel(responses=["September."]))
    assert chain.invoke(QUESTION, {"callbacks": [recorder]}) == "September."
    assert shown_context(recorder).startswith(TEXTS["answer"])
    assert len(tokens(shown_context(recorder))) <= limit


async def test_real_model_in_the_two_stage_retriever(store: Chroma, reranker_folder: Path) -> None:
    """Chroma's candidates are reranked by a real model and have both stages' scores, on both paths."""
    compressor = SecondPassRerank(model=str(reranker_folder))
    retriever = TwoStageRetriever(vectorstore=store, compressor=compressor, k=2)
    found = retriever.invoke(QUESTION)
    assert found[0].id == "answer"
    entry = {"score", "probability", "first_stage_score", "rank", "rank_before", "answerable"}
    assert entry == set(found[0].metadata["secondpass"])
    assert await retriever.ainvoke(QUESTION) == found
