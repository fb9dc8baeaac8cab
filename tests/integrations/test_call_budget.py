"""A context budget for one call, and what both integrations write of duplicates."""

import asyncio

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate, format_document
from llama_index.core.schema import NodeWithScore, TextNode
from worlds import count_words

from secondpass import ContextBudget, OverlapScorer
from secondpass.errors import BudgetError
from secondpass.langchain import SecondPassRerank as LangChainRerank
from secondpass.langchain import call_budget
from secondpass.llama_index import SecondPassRerank as LlamaIndexRerank

TEXTS = ["a flea lives long", "a flea can jump", "the market opens"]
DOCUMENTS = [Document(page_content=text, id=str(number)) for number, text in enumerate(TEXTS)]
QUERY = "how long does a flea live"


def budget(tokens: int) -> ContextBudget:
    """Return a budget of words."""
    return ContextBudget(tokens, counter=count_words)


def ids(documents: object) -> list[str | None]:
    """Return the documents' ids."""
    return [document.id for document in documents]  # type: ignore[attr-defined]


def test_a_chain_gives_a_budget_with_its_input() -> None:
    """``invoke`` takes a budget for one call, and the next call has the compressor's own again."""
    compressor = LangChainRerank(model=OverlapScorer(), budget=budget(100))
    given = {"query": QUERY, "documents": DOCUMENTS}
    assert ids(compressor.invoke({**given, "budget": budget(5)})) == ["0"]
    assert ids(compressor.invoke(given)) == ["0", "1", "2"]


async def test_an_async_chain_does_so_too() -> None:
    """``ainvoke`` takes a budget for one call, and concurrent calls keep their own."""
    compressor = LangChainRerank(model=OverlapScorer(), budget=budget(100))
    inputs = [{"query": QUERY, "documents": DOCUMENTS, "budget": budget(size)} for size in (5, 8, 100)]
    results = await asyncio.gather(*map(compressor.ainvoke, inputs))
    assert [len(documents) for documents in results] == [1, 2, 3]


def test_a_history_reduces_the_budget() -> None:
    """The tokens of earlier messages are taken from the budget; the report says how it came about."""
    compressor = LangChainRerank(model=OverlapScorer(), budget=budget(16))
    history = [HumanMessage("what is a flea")]  # four words and the overhead of a message
    given = {"query": QUERY, "documents": DOCUMENTS, "history": history}
    assert ids(compressor.invoke(given)) == ["0", "1"]
    with call_budget(history=history):
        facts = compressor.rank(DOCUMENTS, QUERY).stages[-1].facts
    assert facts["max_tokens"] == 16 - 8
    assert "history 8" in str(facts["budget"])


def test_a_history_without_a_budget_is_an_error() -> None:
    """A history has nothing to reduce where there is no budget."""
    with call_budget(history=["hello"]), pytest.raises(BudgetError, match="there is none: give budget="):
        LangChainRerank(model=OverlapScorer()).rank(DOCUMENTS, QUERY)


def test_a_history_that_fills_the_budget_is_an_error() -> None:
    """A history that leaves no token says so instead of returning nothing."""
    with call_budget(5, history=["one two three"]), pytest.raises(BudgetError, match="nothing is left"):
        LangChainRerank(model=OverlapScorer()).rank(DOCUMENTS, QUERY)


def test_a_with_block_reaches_a_postprocessor() -> None:
    """Within ``call_budget`` a LlamaIndex postprocessor has another budget, and outside its own."""
    postprocessor = LlamaIndexRerank(model=OverlapScorer(), budget=budget(100))
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    with call_budget(budget(5)):
        assert len(postprocessor.postprocess_nodes(nodes, query_str=QUERY)) == 1
    assert len(postprocessor.postprocess_nodes(nodes, query_str=QUERY)) == 3


def test_sources_of_dropped_copies_are_listed() -> None:
    """A document whose copies were dropped lists where they came from: their sources, else their ids."""
    copies = [
        Document(page_content=TEXTS[0], metadata={"source": "one.txt"}),
        Document(page_content=TEXTS[0], metadata={"source": "two.txt"}),
        Document(page_content=TEXTS[0], id="three"),
    ]
    (kept,) = LangChainRerank(model=OverlapScorer()).compress_documents(copies, QUERY)
    assert kept.metadata["source"] == "one.txt"
    assert kept.metadata["secondpass"]["duplicates"] == ["two.txt", "three"]


def test_a_chains_own_document_prompt_is_counted() -> None:
    """A budget with the chain's document prompt holds for what the chain joins, title and source included."""
    prompt = PromptTemplate.from_template("{title} from {source} says {page_content}")
    documents = [
        Document(page_content=text, metadata={"title": "Fleas and other insects", "source": "encyclopedia"})
        for text in TEXTS
    ]
    compressor = LangChainRerank(model=OverlapScorer(), budget=ContextBudget(22, counter=count_words, template=prompt))
    ranking = compressor.rank(documents, QUERY)
    joined = "\n\n".join(format_document(document, prompt) for document in compressor.documents(ranking))
    assert joined == ranking.context
    assert (len(ranking.kept), count_words(joined)) == (2, 22)
