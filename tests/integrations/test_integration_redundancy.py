"""Near-duplicates, diversity, adaptive k, and what is excluded, in both integrations."""

from typing import Any

import pytest
from integration_support import QUESTION, TEXTS, LangChain
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from worlds import count_words

from secondpass import ContextBudget, CoveredMass, LargestGap, OverlapScorer, Reranker
from secondpass.langchain import SecondPassRerank

LONG = "When summer ends and the days grow short, swallows fly south over the sea to warmer lands."
LONG_AGAIN = "When summer ends and the days grow short, swallows fly south over the sea to greener lands."


def test_near_duplicates_and_diversity_are_settings(integration: LangChain) -> None:
    """A similar text is dropped, and the kept one's record names it as it names exact copies."""
    component = integration.create(model=OverlapScorer(), duplicates="near", near=0.6, diversity=0.3)
    results = integration.run(component, integration.items({"one": LONG, "two": LONG_AGAIN, "wall": TEXTS["wall"]}))
    assert integration.ids(results) == ["one", "wall"]
    assert integration.entries(results)[0]["duplicates"] == ["two"]


def test_what_diversity_displaced_is_no_duplicate(integration: LangChain) -> None:
    """A displaced candidate isn't listed among the copies of the one that displaced it."""
    component = integration.create(model=OverlapScorer(), top_n=2, diversity=0.6)
    items = integration.items({"one": LONG, "two": LONG_AGAIN, "rain": TEXTS["rain"]})
    ranking = component.rank(items, QUESTION)
    assert [str(item.reason) for item in ranking.dropped] == ["diversity"]
    assert "duplicates" not in integration.entries(integration.run(component, items))[0]


@pytest.mark.parametrize("rule", [LargestGap(), CoveredMass(1.0)])
def test_adaptive_k_is_a_setting(integration: LangChain, rule: Any) -> None:
    """Of 1, 1, 1, 0 and 0 the largest gap or the covered mass keeps three, and ``top_n`` stays the limit."""
    component = integration.create(model=OverlapScorer(), adaptive=rule)
    assert integration.ids(integration.run(component, query="swallows fly")) == ["answer", "fast", "rain"]
    limited = integration.create(model=OverlapScorer(), adaptive=rule, top_n=1)
    assert integration.ids(integration.run(limited, query="swallows fly")) == ["answer"]


def test_adaptive_k_is_a_table_as_in_a_configuration_file(integration: LangChain) -> None:
    """A rule is written as data, with its name."""
    written = integration.create(model="small", adaptive=LargestGap(0.3)).settings()["adaptive"]
    assert written == {"rule": "largest_gap", "min_gap": 0.3}


@pytest.mark.parametrize("form", ["ranking", "results", "ids"])
def test_the_next_search_brings_something_new(integration: LangChain, form: str) -> None:
    """What an earlier call kept is excluded from the next, given as its ranking, its results, or their ids."""
    component = integration.create(model=OverlapScorer(), top_n=2)
    first = component.rank(integration.items(), QUESTION)
    forms: dict[str, Any] = {
        "ranking": first,
        "results": integration.run(component),
        "ids": [kept.candidate.id for kept in first],
    }
    second = component.rank(integration.items(), QUESTION, exclude=forms[form])
    assert [kept.candidate.id for kept in second] == ["fast", "wall"]
    assert sum(str(item.reason) == "excluded" for item in second.dropped) == 2


async def test_the_async_path_excludes_too(integration: LangChain) -> None:
    """``arank`` takes the same."""
    component = integration.create(model=OverlapScorer(), top_n=2)
    first = await component.arank(integration.items(), QUESTION)
    second = await component.arank(integration.items(), QUESTION, exclude=first)
    assert [kept.candidate.id for kept in second] == ["fast", "wall"]


def test_a_chains_input_excludes() -> None:
    """``invoke`` takes what to exclude with its input."""
    compressor = SecondPassRerank(model=OverlapScorer(), top_n=2)
    given: dict[str, Any] = {"query": QUESTION, "documents": LangChain().items()}
    first = compressor.invoke(given)
    second = compressor.invoke({**given, "exclude": first})
    assert [document.id for document in second] == ["fast", "wall"]


def test_the_key_of_the_source_is_a_setting(integration: LangChain) -> None:
    """It is written by ``{source}`` in the prompt, instead of the document's own, and is plain data."""
    budget = ContextBudget(100, counter=count_words, template="{source}: {text}")
    component = integration.create(reranker=Reranker(OverlapScorer()), budget=budget, source_key="retriever")
    metadata = {"retriever": "tickets", "source": "file.txt"}
    node = TextNode(text="swallows", metadata=metadata, excluded_llm_metadata_keys=[*metadata])
    items: list[Any] = [NodeWithScore(node=node)]
    if type(integration) is LangChain:
        items = [Document("swallows", metadata=metadata)]
    assert component.rank(items, QUESTION).context == "tickets: swallows"
    assert integration.create(model="small", source_key="retriever").settings()["source_key"] == "retriever"


def test_nothing_relevant_is_visible(integration: LangChain) -> None:
    """Where nothing passes the threshold the results are empty, and the ranking says why."""
    component = integration.create(model=OverlapScorer(), min_probability=0.5)
    assert integration.run(component, query="compound interest") == []
    assert component.rank(integration.items(), "compound interest").nothing_relevant
