"""Complete query and chat engines with Chroma, the postprocessor, and an LLM that records its prompt."""

from pathlib import Path

import chromadb
import pytest
from llama_index.core import PromptTemplate, StorageContext, VectorStoreIndex
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_support import (
    BY_RELEVANCE,
    QUESTION,
    TEXTS,
    PromptKeeper,
    WordEmbedding,
    ids,
    overlap_postprocessor,
    scored_nodes,
    text_nodes,
    tokens,
)

from secondpass import ContextBudget
from secondpass.llama_index import SecondPassRerank

CONTEXT = "Answer from the context.\n<context>\n{context_str}\n</context>"
QA = PromptTemplate(CONTEXT + "\nQuestion: {query_str}")


class FixedRetriever(BaseRetriever):
    """Returns the same nodes for every query."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return scored_nodes()


@pytest.fixture
def retriever(tmp_path: Path) -> BaseRetriever:
    """Return a retriever over a Chroma collection on disk that holds the five nodes."""
    client = chromadb.PersistentClient(str(tmp_path))
    collection = client.create_collection("birds", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    storage = StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection))
    index = VectorStoreIndex(text_nodes(), storage_context=storage, embed_model=WordEmbedding())
    return index.as_retriever(similarity_top_k=5)


def engine(retriever: BaseRetriever, llm: PromptKeeper, postprocessor: SecondPassRerank) -> RetrieverQueryEngine:
    """Return a complete query engine."""
    return RetrieverQueryEngine.from_args(retriever, llm=llm, node_postprocessors=[postprocessor], text_qa_template=QA)


def shown_context(prompt: str) -> str:
    """Return the context in the prompt that the LLM received."""
    return prompt.split("<context>\n")[1].split("\n</context>", maxsplit=1)[0]


def test_query_engine_gives_the_llm_the_best_nodes_that_fit(retriever: BaseRetriever) -> None:
    """The context in the prompt is the kept nodes' texts, and fills the budget to the token."""
    llm = PromptKeeper()
    postprocessor = overlap_postprocessor(budget=ContextBudget(32, counter=tokens))
    response = engine(retriever, llm, postprocessor).query(QUESTION)
    [prompt] = llm.prompts
    assert (str(response), ids(response.source_nodes)) == ("September.", ["answer", "rain"])
    assert shown_context(prompt) == f"file: answer.txt\n\n{TEXTS['answer']}\n\nfile: rain.txt\n\n{TEXTS['rain']}"
    assert len(tokens(shown_context(prompt))) == 32


async def test_query_engine_gives_the_same_on_the_async_path(retriever: BaseRetriever) -> None:
    """``aquery`` gives the LLM the same prompt."""
    asked, awaited = PromptKeeper(), PromptKeeper()
    postprocessor = overlap_postprocessor(budget=ContextBudget(32, counter=tokens))
    engine(retriever, asked, postprocessor).query(QUESTION)
    response = await engine(retriever, awaited, postprocessor).aquery(QUESTION)
    assert awaited.prompts == asked.prompts
    assert response.source_nodes[0].score == pytest.approx(0.8)


def test_first_stage_score_is_chromas(retriever: BaseRetriever) -> None:
    """The record has the vector store's score, and the node's score is the model's."""
    before = {scored.node.node_id: scored.score for scored in retriever.retrieve(QUESTION)}
    found = overlap_postprocessor().postprocess_nodes(retriever.retrieve(QUESTION), query_str=QUESTION)
    entries = {scored.node.node_id: scored.node.metadata["secondpass"]["first_stage_score"] for scored in found}
    assert ids(found) == BY_RELEVANCE
    assert entries == pytest.approx(before)


def test_record_is_not_part_of_the_prompt(retriever: BaseRetriever) -> None:
    """The record isn't in the prompt, also after two rerankings."""
    llm = PromptKeeper()
    RetrieverQueryEngine.from_args(
        retriever, llm=llm, node_postprocessors=[overlap_postprocessor(), overlap_postprocessor(top_n=3)]
    ).query(QUESTION)
    assert TEXTS["answer"] in llm.prompts[0]
    assert "secondpass" not in llm.prompts[0]


def test_chat_engines_budget_shrinks_as_the_history_grows(retriever: BaseRetriever) -> None:
    """With a budget computed for each query, every turn is a single prompt, and later turns get fewer nodes."""
    llm = PromptKeeper(window=790)  # 50 are for the answer, 500 LlamaIndex's synthesizer keeps free

    def budget(query: str) -> ContextBudget:
        reserve = 50 + 20  # some for what LlamaIndex's tokenizer counts differently
        prompt = CONTEXT.format(context_str="")
        history = chat.chat_history
        return ContextBudget.for_llm(
            llm, reserve=reserve, prompt=prompt, question=query, history=history, counter=tokens
        )

    chat = ContextChatEngine.from_defaults(
        retriever,
        llm=llm,
        memory=ChatMemoryBuffer.from_defaults(token_limit=4000),
        node_postprocessors=[overlap_postprocessor(budget=budget)],
        context_template=CONTEXT,
        context_refine_template="Refine.\n{context_msg}\n{existing_answer}",
    )
    sizes = [len(chat.chat(QUESTION).source_nodes) for _ in range(4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 5 > sizes[-1] > 0
    assert len(llm.prompts) == 4


async def test_retriever_evaluator_measures_the_postprocessor() -> None:
    """LlamaIndex's evaluator accepts the postprocessor, and measures the answer at rank 1 instead of 3."""
    plain = RetrieverEvaluator.from_metric_names(["mrr"], retriever=FixedRetriever())
    reranked = RetrieverEvaluator.from_metric_names(
        ["mrr"], retriever=FixedRetriever(), node_postprocessors=[overlap_postprocessor()]
    )
    results = [await evaluator.aevaluate(QUESTION, expected_ids=["answer"]) for evaluator in (plain, reranked)]
    assert [result.metric_vals_dict["mrr"] for result in results] == pytest.approx([1 / 3, 1.0])


@pytest.mark.parametrize("limit", [40, 60])
def test_real_model_in_a_complete_query_engine(retriever: BaseRetriever, reranker_folder: Path, limit: int) -> None:
    """With a real model the answer is first in the context, which fits its budget."""
    llm = PromptKeeper()
    postprocessor = SecondPassRerank(model=str(reranker_folder), budget=ContextBudget(limit, counter=tokens))
    response = engine(retriever, llm, postprocessor).query(QUESTION)
    context = shown_context(llm.prompts[0])
    assert context.startswith(f"file: answer.txt\n\n{TEXTS['answer']}")
    assert len(tokens(context)) <= limit
    assert response.source_nodes[0].node.node_id == "answer"
