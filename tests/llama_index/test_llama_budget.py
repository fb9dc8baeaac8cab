"""The postprocessor's budget: counted on the text that the LLM reads of a node, metadata included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import BaseNode, MediaResource, MetadataMode, Node, NodeWithScore, TextNode
from llama_support import QUESTION, ids, overlap_postprocessor, scored_nodes, tokens

from secondpass import ContextBudget, OverlapScorer
from secondpass.llama_index import SecondPassRerank

LONG = "Swallows fly south. They leave in September. They come back in April."  # 4 + 5 + 6 tokens


def shown(found: list[NodeWithScore]) -> str:
    """Return the nodes' texts for the LLM, joined."""
    return "\n\n".join(scored.node.get_content(metadata_mode=MetadataMode.LLM) for scored in found)


def truncated(node: BaseNode, limit: int) -> list[NodeWithScore]:
    """Return a node cut to a budget."""
    postprocessor = overlap_postprocessor(budget=ContextBudget(limit, counter=tokens), policy="truncate")
    return postprocessor.postprocess_nodes([NodeWithScore(node=node)], query_str=QUESTION)


@pytest.mark.parametrize(
    ("limit", "kept"), [(14, ["fast"]), (15, ["answer"]), (27, ["answer"]), (28, ["answer", "fast"])]
)
def test_budget_counts_the_metadata_that_the_llm_reads(limit: int, kept: list[str]) -> None:
    """A node needs tokens for its text and its metadata in the prompt: 15 for ``answer``, 11 for ``fast``."""
    found = overlap_postprocessor(budget=ContextBudget(limit, counter=tokens)).postprocess_nodes(
        [scored for scored in scored_nodes() if scored.node.node_id in ("answer", "fast")], query_str=QUESTION
    )
    assert ids(found) == kept
    assert len(tokens(shown(found))) <= limit


def test_budget_does_not_count_metadata_that_the_llm_does_not_read() -> None:
    """A key that is excluded for the LLM isn't counted, though the model reads it."""
    node = TextNode(text="Swallows.", metadata={"long": "word " * 50}, excluded_llm_metadata_keys=["long"])
    found = overlap_postprocessor(budget=ContextBudget(2, counter=tokens)).postprocess_nodes(
        [NodeWithScore(node=node)], query_str=QUESTION
    )
    assert shown(found) == "Swallows."


async def test_budget_callable_is_called_with_each_query() -> None:
    """A callable is called once for each query, on both paths."""
    asked: list[str] = []
    postprocessor = overlap_postprocessor(budget=lambda query: asked.append(query) or 100)
    postprocessor.postprocess_nodes(scored_nodes(), query_str="one")
    await postprocessor.apostprocess_nodes(scored_nodes(), query_str="two")
    assert asked == ["one", "two"]


def test_truncated_node_is_cut_at_a_sentence_end_and_the_original_stays() -> None:
    """The result keeps its metadata without the sentences that don't fit, and the input node stays whole."""
    node = TextNode(text=LONG, metadata={"file": "birds"})
    found = truncated(node, limit=15)
    assert shown(found) == "file: birds\n\nSwallows fly south. They leave in September."
    assert found[0].node.get_content() == "Swallows fly south. They leave in September."
    assert node.text == LONG


def test_truncated_node_of_the_newer_class_is_cut_too() -> None:
    """``Node``, which holds its text as a resource, is cut as ``TextNode`` is, and the original's resource stays."""
    node = Node(text_resource=MediaResource(text=LONG), metadata={"file": "birds"})
    assert shown(truncated(node, limit=15)) == "file: birds\n\nSwallows fly south. They leave in September."
    assert node.get_content() == LONG


def test_cut_of_a_node_whose_template_ends_with_words_stays_in_the_budget() -> None:
    """A template's last words don't follow a text that was cut before them."""
    node = TextNode(text=LONG, metadata={"file": "birds"}, text_template="{metadata_str}: {content} (the end)")
    assert shown(truncated(node, limit=15)) == "file: birds: Swallows fly south. They leave in September."


@given(
    text=st.lists(st.sampled_from(["Swallows fly.", "South.", "\n\n", "It rains a lot here.", " "]), max_size=6),
    about=st.lists(st.sampled_from(["Birds sing.", "South.", "Far.", "\n"]), max_size=4),
    template=st.sampled_from(
        ["{metadata_str}\n\n{content}", "{content}\n{metadata_str}", "[{metadata_str}] {content} END."]
    ),
    limit=st.integers(0, 40),
)
def test_llm_reads_exactly_the_kept_text_of_a_cut_node(
    text: list[str], about: list[str], template: str, limit: int
) -> None:
    """For every metadata and template, the LLM reads the kept text, which fits the budget."""
    node = TextNode(text=" ".join(text), metadata={"about": " ".join(about)}, text_template=template)
    budget = ContextBudget(limit, counter=tokens)
    postprocessor = overlap_postprocessor(budget=budget, policy="truncate")
    nodes = [NodeWithScore(node=node)]
    found = postprocessor.postprocess_nodes(nodes, query_str=QUESTION)
    assert shown(found) == postprocessor.rank(nodes, QUESTION).context
    assert len(tokens(shown(found))) <= limit


@pytest.mark.parametrize("tokens", range(1, 12))
def test_a_cut_never_leaves_metadata_alone(tokens: int) -> None:
    """A node whose own text doesn't fit behind its metadata is dropped, not cut to a title without a text."""
    node = TextNode(text="fleas live for two to three months", metadata={"title": "All about fleas and lice"})
    budget = ContextBudget(tokens, counter=lambda text: len(text.split()))
    reranker = SecondPassRerank(model=OverlapScorer(), budget=budget, policy="truncate")
    kept = reranker.postprocess_nodes([NodeWithScore(node=node, score=0.5)], query_str="how long does a flea live")
    assert len(kept) == (tokens > 6)
    assert all(item.node.get_content(metadata_mode=MetadataMode.NONE).startswith("fleas") for item in kept)
