"""Budgets in both integrations: templates with metadata, and the records of cut texts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from integration_support import QUESTION, LangChain, LlamaIndex, tokens
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from secondpass import ContextBudget, OverlapScorer
from secondpass.langchain import SecondPassRerank

LONG = "Swallows fly south. They leave in September. They come back in April."  # 4 + 5 + 6 tokens
TEMPLATE = "{source}: {title} {text}"


def titled() -> list[Document]:
    """Return documents with a source, and a title that the last one lacks."""
    titles = {"Swallows fly south.": "Birds", "Swallows fly low.": "Weather", "Swallows sing.": None}
    return [
        Document(text, metadata={"source": f"s{number}"} | ({"title": title} if title else {}))
        for number, (text, title) in enumerate(titles.items())
    ]


def test_template_reads_document_metadata() -> None:
    """A template's fields are metadata keys; a missing one is empty."""
    compressor = SecondPassRerank(model=OverlapScorer(), budget=ContextBudget(100, counter=tokens, template=TEMPLATE))
    ranking = compressor.rank(titled(), QUESTION)
    assert ranking.context == "s0: Birds Swallows fly south.\n\ns1: Weather Swallows fly low.\n\ns2:  Swallows sing."


@pytest.mark.parametrize("limit", range(26))
@pytest.mark.parametrize("policy", ["fill", "prefix", "truncate"])
def test_budget_holds_for_the_texts_joined_with_the_template(limit: int, policy: Any) -> None:
    """The results, joined by the caller with the same template, don't exceed the budget."""
    budget = ContextBudget(limit, counter=tokens, template=TEMPLATE)
    compressor = SecondPassRerank(model=OverlapScorer(), budget=budget, policy=policy)
    results = compressor.compress_documents(titled(), QUESTION)
    joined = "\n\n".join(
        TEMPLATE.format(
            source=result.metadata["source"], title=result.metadata.get("title", ""), text=result.page_content
        )
        for result in results
    )
    assert len(tokens(joined)) <= limit
    assert joined == compressor.rank(titled(), QUESTION).context


def test_template_reads_node_metadata() -> None:
    """In LlamaIndex a template's fields are the node's metadata keys."""
    node = TextNode(text="Swallows.", metadata={"title": "Birds"}, excluded_llm_metadata_keys=["title"])
    budget = ContextBudget(100, template="<{title}> {text}")
    ranking = LlamaIndex().create(model=OverlapScorer(), budget=budget).rank([NodeWithScore(node=node)], QUESTION)
    assert ranking.context == "<Birds> Swallows."


def test_record_of_a_cut_text_has_its_span(integration: LangChain) -> None:
    """``cut`` is the number of tokens left out, and ``span`` the character range of the kept text."""
    component = integration.create(model=OverlapScorer(), budget=ContextBudget(9, counter=tokens), policy="truncate")
    [entry] = integration.entries(integration.run(component, integration.items({"long": LONG})))
    assert entry["cut"] == 6
    assert LONG[slice(*entry["span"])] == "Swallows fly south. They leave in September."


def test_record_of_a_whole_text_has_no_span(integration: LangChain) -> None:
    """A text that wasn't cut has neither ``cut`` nor ``span``."""
    component = integration.create(model=OverlapScorer(), budget=100, policy="truncate")
    [entry] = integration.entries(integration.run(component, integration.items({"long": LONG})))
    assert not {"cut", "span"} & set(entry)


@given(
    text=st.lists(st.sampled_from(["Swallows fly.", "South.", "\n\n", "It rains a lot here.", " "]), max_size=6),
    metadata=st.sampled_from([{}, {"file": "birds"}]),
    start=st.integers(0, 20),
    limit=st.integers(0, 30),
)
def test_character_offsets_of_a_cut_node_are_those_of_its_text(
    text: list[str], metadata: dict[str, Any], start: int, limit: int
) -> None:
    """``start_char_idx`` and ``end_char_idx`` are the range of the node's text in its document."""
    content = " ".join(text)
    source = "x" * start + content + " and more"
    node = TextNode(text=content, metadata=metadata, start_char_idx=start, end_char_idx=start + len(content))
    component = LlamaIndex().create(
        model=OverlapScorer(), budget=ContextBudget(limit, counter=tokens), policy="truncate"
    )
    for result in component.postprocess_nodes([NodeWithScore(node=node)], query_str=QUESTION):
        cut_within_metadata = "file" in result.node.excluded_llm_metadata_keys
        expected = "" if cut_within_metadata else result.node.get_content(metadata_mode=MetadataMode.NONE)
        assert source[result.node.start_char_idx : result.node.end_char_idx] == expected


@pytest.mark.parametrize("metadata", [{}, {"file": "birds"}], ids=["no metadata", "metadata"])
@pytest.mark.parametrize("template", ["{metadata_str}: {content}", "{content} ({metadata_str})", "{content}"])
def test_cut_node_keeps_its_leading_whitespace(metadata: dict[str, Any], template: str) -> None:
    """Where LlamaIndex strips a text in the prompt, the cut node's text and its offsets still match the document."""
    content = f"\n\n  {LONG}"
    node = TextNode(
        text=content, metadata=metadata, text_template=template, start_char_idx=0, end_char_idx=len(content)
    )
    budget = ContextBudget(14, counter=tokens)
    component = LlamaIndex().create(model=OverlapScorer(), budget=budget, policy="truncate")
    [result] = component.postprocess_nodes([NodeWithScore(node=node)], query_str=QUESTION)
    kept = content[result.node.start_char_idx : result.node.end_char_idx]
    assert kept.startswith("\n\n  Swallows fly south.")
    assert result.node.get_content(metadata_mode=MetadataMode.LLM).endswith(kept.strip())
    if result.node.excluded_llm_metadata_keys == ["secondpass"]:
        assert result.node.text == kept
