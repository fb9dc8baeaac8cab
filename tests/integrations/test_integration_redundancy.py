"""Near-duplicates, diversity, adaptive k, and what is excluded, in both integrations."""

from typing import Any

import pytest
from integration_support import QUESTION, TEXTS, LangChain
from langchain_core.documents import Document
from langchain_core.prompts import PromptTemplate
from llama_index.core.schema import ImageNode, NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from worlds import count_words

from secondpass import ContextBudget, CoveredMass, LargestGap, OverlapScorer, Reranker, Selection, llama_index
from secondpass.errors import ConfigurationError
from secondpass.langchain import SecondPassRerank

LONG = "When summer ends and the days grow short, swallows fly south over the sea to warmer lands."
LONG_AGAIN = "When summer ends and the days grow short, swallows fly south over the sea to greener lands."


def test_near_duplicates_and_diversity_are_settings(integration: LangChain) -> None:
    """A similar text is dropped, and the kept one's record names it as it names exact copies."""
    component = integration.create(
        model=OverlapScorer(), selection=Selection(duplicates="near", near=0.6, diversity=0.3)
    )
    results = integration.run(component, integration.items({"one": LONG, "two": LONG_AGAIN, "wall": TEXTS["wall"]}))
    assert integration.ids(results) == ["one", "wall"]
    assert integration.entries(results)[0]["duplicates"] == ["two"]


def test_what_diversity_displaced_is_no_duplicate(integration: LangChain) -> None:
    """A displaced candidate isn't listed among the copies of the one that displaced it."""
    component = integration.create(model=OverlapScorer(), top_n=2, selection=Selection(diversity=0.6))
    items = integration.items({"one": LONG, "two": LONG_AGAIN, "rain": TEXTS["rain"]})
    ranking = component.rank(items, QUESTION)
    assert [str(item.reason) for item in ranking.dropped] == ["diversity"]
    assert "duplicates" not in integration.entries(integration.run(component, items))[0]


@pytest.mark.parametrize("rule", [LargestGap(), CoveredMass(1.0)])
def test_adaptive_k_is_a_setting(integration: LangChain, rule: Any) -> None:
    """Of 1, 1, 1, 0 and 0 the largest gap or the covered mass keeps three, and ``top_n`` stays the limit."""
    component = integration.create(model=OverlapScorer(), selection=Selection(adaptive=rule))
    assert integration.ids(integration.run(component, query="swallows fly")) == ["answer", "fast", "rain"]
    limited = integration.create(model=OverlapScorer(), selection=Selection(adaptive=rule), top_n=1)
    assert integration.ids(integration.run(limited, query="swallows fly")) == ["answer"]


def test_adaptive_k_is_a_table_as_in_a_configuration_file(integration: LangChain) -> None:
    """A rule is written as data, with its name."""
    written = integration.create(selection=Selection(adaptive=LargestGap(0.3))).settings()["selection"]["adaptive"]
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


YEARS = {"one": "2019", "two": "2022", "three": "2025"}
FEE = "The fee for an early withdrawal is waived."


def of_years(integration: LangChain, text: str = FEE) -> list[Any]:
    """Return three items with one text and other years, which stand in no prompt but a template's."""
    if type(integration) is LangChain:
        return [Document(text, id=name, metadata={"year": year}) for name, year in YEARS.items()]
    return [
        NodeWithScore(
            node=TextNode(
                text=text,
                id_=name,
                metadata={"year": year},
                excluded_llm_metadata_keys=["year"],
                excluded_embed_metadata_keys=["year"],
            )
        )
        for name, year in YEARS.items()
    ]


@pytest.mark.parametrize("duplicates", ["exact", "near"])
@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 1),
        ({"budget": ContextBudget(999, template="[{year}] {text}")}, 3),
        ({"budget": ContextBudget(999, template=PromptTemplate.from_template("[{year}] {page_content}"))}, 3),
        ({"score_text": "{year}: {text}"}, 3),
    ],
    ids=["text alone", "template", "document prompt", "score_text"],
)
def test_what_is_read_differently_is_no_duplicate(
    integration: LangChain, settings: dict[str, Any], kept: int, duplicates: str
) -> None:
    """One text under three years is one text only where nobody reads the year; excluding one excludes no other."""
    component = integration.create(model=OverlapScorer(), duplicates=duplicates, **settings)
    found = of_years(integration)
    assert len(component.rank(found, "the fee")) == kept
    again = component.rank(found, "the fee", exclude=found[:1])
    assert len(again) == kept - 1


def test_metadata_that_the_llm_reads_is_part_of_the_text() -> None:
    """In LlamaIndex a node's text for the LLM holds its metadata: near-duplicates have the same."""
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata={"product": product}))
        for text, product in [(LONG, "basic"), (LONG, "premium"), (LONG_AGAIN, "basic")]
    ]
    selection = Selection(duplicates="near", near=0.6)
    ranking = llama_index.SecondPassRerank(model=OverlapScorer(), selection=selection).rank(nodes, QUESTION)
    assert [item.index for item in ranking.kept] == [0, 1]


def test_images_are_kept_unscored() -> None:
    """A LlamaIndex node that holds an image, and no text, has nothing to score; it follows the scored, once each."""
    images = [ImageNode(image_path=f"{name}.png", id_=name) for name in ("one", "two")]
    nodes = [NodeWithScore(node=node, score=0.9) for node in images]
    text = NodeWithScore(node=TextNode(text=LONG, id_="text"))
    component = llama_index.SecondPassRerank(model=OverlapScorer(), min_probability=0.1)
    kept = component.postprocess_nodes([*nodes, text, nodes[0]], query_str=QUESTION)
    assert [node.node.node_id for node in kept] == ["text", "one", "two"]
    assert kept[1].metadata["secondpass"]["unscored"] == "empty"


def test_one_source_is_limited(integration: LangChain) -> None:
    """Of eight parts of one file and three other files, the best five hold at most two parts of the one."""
    names = {f"part {number}": {"source": "long.txt"} for number in range(8)}
    names |= {f"file {number}": {"source": f"{number}.txt"} for number in range(3)}
    found: list[Any] = [Document(f"swallows {name}", id=name, metadata=data) for name, data in names.items()]
    if type(integration) is not LangChain:
        found = [
            NodeWithScore(node=TextNode(text=document.page_content, id_=document.id, metadata=document.metadata))
            for document in found
        ]
    component = integration.create(model=OverlapScorer(), top_n=5, max_per_source=2)
    kept = integration.ids(integration.run(component, found, "swallows"))
    assert kept == ["part 0", "part 1", "file 0", "file 1", "file 2"]
    assert integration.create(model="nano", max_per_source=2).settings()["max_per_source"] == 2
    with pytest.raises(ConfigurationError, match="max_per_source"):
        integration.create(model="nano", max_per_source=0)


def test_sources_are_any_values_and_parents() -> None:
    """A number under ``source_key`` names a source too; a LlamaIndex node without one has its parent's id."""
    document = Document("swallows", metadata={"file": 7, "source": ""})
    (kept,) = SecondPassRerank(model=OverlapScorer(), source_key="file").rank([document], QUESTION)
    assert kept.candidate.source == "7"
    assert SecondPassRerank(model=OverlapScorer()).rank([document], QUESTION)[0].candidate.source is None
    parent = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="parent")}
    node = NodeWithScore(node=TextNode(text="swallows", relationships=parent))
    assert llama_index.SecondPassRerank(model=OverlapScorer()).rank([node], QUESTION)[0].candidate.source == "parent"


def test_nothing_relevant_is_visible(integration: LangChain) -> None:
    """Where nothing passes the threshold the results are empty, and the ranking says why."""
    component = integration.create(model=OverlapScorer(), min_probability=0.5)
    assert integration.run(component, query="compound interest") == []
    assert component.rank(integration.items(), "compound interest").nothing_relevant
