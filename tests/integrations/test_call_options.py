"""A context budget for one call, and what both integrations write of duplicates."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import copy_context

import numpy as np
import pytest
from integration_support import QUESTION, LangChain
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate, format_document
from llama_index.core.schema import NodeWithScore, TextNode
from worlds import Failing, Scripted, count_words

from secondpass import ContextBudget, OverlapScorer, call_options
from secondpass.langchain import SecondPassRerank as LangChainRerank
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
    with call_options(history=history):
        facts = compressor.rank(DOCUMENTS, QUERY).stages[-1].facts
    assert facts["max_tokens"] == 16 - 8
    assert "history 8" in str(facts["budget"])


def test_a_history_without_a_budget_changes_nothing() -> None:
    """A chain that passes its history on works where there is no budget to reduce."""
    given = {"query": QUERY, "documents": DOCUMENTS, "history": ["hello"]}
    assert ids(LangChainRerank(model=OverlapScorer()).invoke(given)) == ["0", "1", "2"]


def test_a_history_that_fills_the_budget_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A history that leaves no token keeps nothing, and a warning says so; the chat goes on."""
    with call_options(5, history=["one two three"]):
        ranking = LangChainRerank(model=OverlapScorer(), budget=budget(100)).rank(DOCUMENTS, QUERY)
    assert (len(ranking.kept), ranking.stages[-1].facts["max_tokens"]) == (0, 0)
    assert "no candidate fits the context budget" in caplog.text


def test_a_number_replaces_the_limit_alone() -> None:
    """Tokens for one call keep the tokenizer, the template and the separator of the budget."""
    own = ContextBudget(100, counter=count_words, template="[{index}] {text}", separator=" | ")
    compressor = LangChainRerank(model=OverlapScorer(), budget=own)
    with call_options(5):
        ranking = compressor.rank(DOCUMENTS, QUERY)
    assert (ranking.context, ranking.tokens) == ("[1] a flea lives long", 5)
    assert ranking.stages[-1].facts["counter"] == "count_words"


def test_changed_settings_take_effect() -> None:
    """A copy with another model scores with it, and so does the object itself after an assignment."""
    first = LangChainRerank(model=OverlapScorer())
    first.rank(DOCUMENTS, QUERY)
    other = Scripted({TEXTS[2]: 9.0})
    copy = first.model_copy(update={"model": other})
    assert copy.rank(DOCUMENTS, QUERY)[0].candidate.id == "2"
    first.deadline_ms = 0
    assert first.rank(DOCUMENTS, QUERY).degraded is not None


def test_a_threshold_limits_what_has_no_score() -> None:
    """With ``min_probability`` as the only limit, a pass without scores keeps 5 documents and not all."""
    documents = [Document(page_content=f"text {number}") for number in range(9)]
    failing = LangChainRerank(model=Failing(), min_probability=0.5).rank(documents, QUERY)
    assert len(failing.kept) == 5
    assert "at most 5 candidates without a score" in failing.dropped[0].detail


def test_a_hosted_cross_encoders_error_gives_the_first_stages_order() -> None:
    """Whatever a ``BaseCrossEncoder`` raises counts as a failure of the model."""

    class TooManyRequests(Exception):  # a client's own
        """Derives from ``Exception`` alone."""

    class Hosted(BaseCrossEncoder):
        """Fails as a hosted service does."""

        def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
            raise TooManyRequests

    assert "TooManyRequests" in str(LangChainRerank(model=Hosted()).rank(DOCUMENTS, QUERY).degraded)


def test_a_with_block_reaches_a_postprocessor() -> None:
    """Within ``call_budget`` a LlamaIndex postprocessor has another budget, and outside its own."""
    postprocessor = LlamaIndexRerank(model=OverlapScorer(), budget=budget(100))
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    with call_options(budget(5)):
        assert len(postprocessor.postprocess_nodes(nodes, query_str=QUERY)) == 1
    assert len(postprocessor.postprocess_nodes(nodes, query_str=QUERY)) == 3


def test_dropped_copies_are_listed() -> None:
    """A document whose copies were dropped lists them: their ids, else their sources, else their positions."""
    copies = [
        Document(page_content=TEXTS[0], metadata={"source": "one.txt"}),
        Document(page_content=TEXTS[0], metadata={"source": "two.txt"}, id="two"),
        Document(page_content=TEXTS[0], metadata={"source": "three.txt"}),
        Document(page_content=TEXTS[0]),
    ]
    (kept,) = LangChainRerank(model=OverlapScorer()).compress_documents(copies, QUERY)
    assert kept.metadata["source"] == "one.txt"
    assert kept.metadata["secondpass"]["duplicates"] == ["two", "three.txt", 3]


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


def test_a_numpy_number_replaces_the_limit_alone(integration: LangChain) -> None:
    """A limit computed with numpy keeps the tokenizer of the integration's own budget, as an int does."""
    component = integration.create(model=OverlapScorer(), budget=ContextBudget(99, counter=count_words))
    rankings = []
    for limit in (20, np.int64(20)):
        with call_options(limit):
            rankings.append(component.rank(integration.items(), QUESTION))
    assert rankings[0].stages[-1].facts["counter"] == "count_words"
    assert [len(ranking) for ranking in rankings] == [len(rankings[0])] * 2
    assert rankings[1].stages[-1].facts["counter"] == "count_words"


def test_a_generator_of_history_counts_for_every_call(integration: LangChain) -> None:
    """The history may be any iterable; it is read once."""
    component = integration.create(model=OverlapScorer(), budget=ContextBudget(60, counter=count_words))
    with call_options(history=(message for message in ["word " * 20])):
        tokens = [component.rank(integration.items(), QUESTION).tokens for _ in range(2)]
    assert tokens[0] == tokens[1]


def test_a_history_without_a_budget_is_logged(integration: LangChain, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing that it could reduce."""
    component = integration.create(model=OverlapScorer(), top_n=2)
    with call_options(history=["word " * 20]):
        component.rank(integration.items(), QUESTION)
    assert "the history has no effect: there is no context budget" in caplog.text


class Database:
    """A chat history that reads its messages from a database, on the thread that asks."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    @property
    def messages(self) -> list[str]:
        self.threads.append(threading.current_thread())
        return ["word " * 20]


async def test_a_history_is_read_once_and_off_the_event_loop(integration: LangChain) -> None:
    """Reading the messages can take as long as a database does."""
    component = integration.create(model=OverlapScorer(), budget=ContextBudget(60, counter=count_words))
    history = Database()
    with call_options(history=history):
        await component.arank(integration.items(), QUESTION)
    assert len(history.threads) == 1
    assert history.threads[0] is not threading.current_thread()


def test_a_block_may_end_in_another_context(integration: LangChain) -> None:
    """Web frameworks resume generators in contexts of their own: leaving the block there raises nothing."""

    def pages() -> Iterator[int]:
        with call_options(20):
            yield 1

    generator = pages()
    assert [copy_context().run(next, generator), *copy_context().run(list, generator)] == [1]


async def test_the_length_of_a_history_is_not_asked_for(integration: LangChain) -> None:
    """Whether it is empty shows when it is counted, off the event loop."""

    class Lengthy(Database):
        def __len__(self) -> int:
            raise AssertionError("asked for its length")

    component = integration.create(model=OverlapScorer(), budget=ContextBudget(60, counter=count_words))
    with call_options(history=Lengthy()):
        assert (await component.arank(integration.items(), QUESTION)).tokens is not None
