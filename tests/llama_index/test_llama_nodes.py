"""The postprocessor's nodes: copies in a new order, with a record that is excluded from prompts and embeddings."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_support import (
    BY_RELEVANCE,
    QUESTION,
    TEXTS,
    BrokenScorer,
    ReadingScorer,
    ids,
    overlap_postprocessor,
    scored_nodes,
)

from secondpass import Reranker
from secondpass.errors import InputError, ScoringError
from secondpass.llama_index import SecondPassRerank

KINDS: dict[str, BaseNode] = {
    "TextNode": TextNode(text="swallows", id_="n", metadata={"a": 1}),
    "Node": Node(text_resource=MediaResource(text="swallows"), id_="n", metadata={"a": 1}),
    "Document": Document(text="swallows", id_="n", metadata={"a": 1}),
    "ImageNode": ImageNode(text="swallows", id_="n", image_url="https://example.org/a.png"),
    "IndexNode": IndexNode(text="swallows", id_="n", index_id="further"),
}

plain = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
metadatas = st.dictionaries(st.text(max_size=8).filter(lambda key: key != "secondpass"), plain, max_size=3)
any_text_node = st.builds(TextNode, text=st.text(max_size=40), metadata=metadatas)
scores = st.none() | st.floats(allow_nan=False, allow_infinity=False)
any_node = st.builds(NodeWithScore, node=any_text_node, score=scores)


@given(nodes=st.lists(any_node, max_size=5), query=st.text(max_size=20))
def test_results_are_copies_of_the_nodes(nodes: list[NodeWithScore], query: str) -> None:
    """The inputs stay unchanged, and each result has its input's text for the LLM and for embeddings."""
    before = copy.deepcopy(nodes)
    found = overlap_postprocessor().postprocess_nodes(nodes, query_str=query)
    assert nodes == before
    originals = {scored.node.node_id: scored.node for scored in before}
    for scored in found:
        original = originals[scored.node.node_id]
        for mode in (MetadataMode.LLM, MetadataMode.EMBED, MetadataMode.NONE):
            assert scored.node.get_content(metadata_mode=mode) == original.get_content(metadata_mode=mode)


@pytest.mark.parametrize("kind", KINDS)
def test_node_keeps_its_class_id_and_relationships(kind: str) -> None:
    """A result has its node's class, relationships and all other fields."""
    node = KINDS[kind].model_copy(
        update={"relationships": {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="the-book")}}
    )
    [found] = overlap_postprocessor().postprocess_nodes([NodeWithScore(node=node, score=0.5)], query_str=QUESTION)
    added = {"metadata", "excluded_llm_metadata_keys", "excluded_embed_metadata_keys"}
    assert type(found.node) is type(node)
    assert found.node.model_dump(exclude=added) == node.model_dump(exclude=added)
    assert found.node.metadata == node.metadata | {"secondpass": found.node.metadata["secondpass"]}


def test_best_nodes_come_first_with_the_probability_as_score() -> None:
    """The order is that of the model's scores, and the score is Python's own float."""
    found = overlap_postprocessor().postprocess_nodes(scored_nodes(), query_str=QUESTION)
    assert ids(found) == BY_RELEVANCE
    assert [scored.score for scored in found] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert {type(scored.score) for scored in found} == {float}


def test_result_survives_json() -> None:
    """A reranked node survives LlamaIndex's own serialisation with score and record."""
    [found, *_] = overlap_postprocessor().postprocess_nodes(scored_nodes(), query_str=QUESTION)
    written = json.loads(found.to_json())
    assert written["score"] == found.score
    assert TextNode.from_dict(written["node"]) == found.node


def test_record_has_scores_and_ranks() -> None:
    """The record has the first stage's score and rank beside the model's."""
    best = overlap_postprocessor().postprocess_nodes(scored_nodes(), query_str=QUESTION)[0]
    assert best.node.metadata["secondpass"] == {
        "rank": 1,
        "rank_before": 3,
        "score": 0.8,
        "probability": 0.8,
        "first_stage_score": pytest.approx(0.7),
    }


def test_first_stage_without_scores_is_no_error() -> None:
    """Nodes whose score is None are ranked like all others."""
    nodes = [NodeWithScore(node=scored.node, score=None) for scored in scored_nodes()]
    found = overlap_postprocessor().postprocess_nodes(nodes, query_str=QUESTION)
    assert ids(found) == BY_RELEVANCE
    assert "first_stage_score" not in found[0].node.metadata["secondpass"]


def test_score_of_zero_is_a_score() -> None:
    """A first-stage score of 0 doesn't count as missing."""
    [found] = overlap_postprocessor().postprocess_nodes(
        [NodeWithScore(node=TextNode(text="swallows"), score=0.0)], query_str=QUESTION
    )
    assert found.node.metadata["secondpass"]["first_stage_score"] == 0.0


@pytest.mark.parametrize("mode", list(MetadataMode))
def test_second_reranking_reads_the_same_texts_as_the_first(mode: MetadataMode) -> None:
    """In every metadata mode the record of an earlier reranking is not part of the text."""
    scorer = ReadingScorer()
    postprocessor = SecondPassRerank(reranker=Reranker(scorer), metadata_mode=mode)
    once = postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    first = sorted(scorer.read)
    twice = postprocessor.postprocess_nodes(once, query_str=QUESTION)
    assert sorted(scorer.read) == first
    assert twice[0].node.metadata["secondpass"]["rank_before"] == 1
    assert twice[0].node.excluded_llm_metadata_keys == ["secondpass"]


@pytest.mark.parametrize(
    ("mode", "read"),
    [
        (None, "embedded: e\n\ntext"),
        (MetadataMode.EMBED, "embedded: e\n\ntext"),
        (MetadataMode.LLM, "shown: s\n\ntext"),
        (MetadataMode.NONE, "text"),
        (MetadataMode.ALL, "embedded: e\nshown: s\n\ntext"),
    ],
)
def test_metadata_mode_decides_the_text_that_the_model_reads(mode: MetadataMode | None, read: str) -> None:
    """By default the model reads the text for embeddings, and ``metadata_mode`` changes that."""
    node = TextNode(
        text="text",
        metadata={"embedded": "e", "shown": "s"},
        excluded_embed_metadata_keys=["shown"],
        excluded_llm_metadata_keys=["embedded"],
    )
    scorer = ReadingScorer()
    settings: dict[str, Any] = {"metadata_mode": mode} if mode else {}
    postprocessor = SecondPassRerank(reranker=Reranker(scorer), **settings)
    postprocessor.postprocess_nodes([NodeWithScore(node=node)], query_str=QUESTION)
    assert scorer.read == [read]


async def test_async_path_gives_the_same() -> None:
    """``apostprocess_nodes`` returns what ``postprocess_nodes`` returns."""
    postprocessor = overlap_postprocessor(top_n=3)
    expected = postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    found = await postprocessor.apostprocess_nodes(scored_nodes(), query_str=QUESTION)
    assert [scored.to_dict() for scored in found] == [scored.to_dict() for scored in expected]
    assert len(found) == 3


def test_query_string_and_query_bundle_give_the_same() -> None:
    """Both forms of the query give the same nodes."""
    by_string = overlap_postprocessor().postprocess_nodes(scored_nodes(), query_str=QUESTION)
    by_bundle = overlap_postprocessor().postprocess_nodes(scored_nodes(), QueryBundle(QUESTION))
    assert ids(by_string) == ids(by_bundle) == BY_RELEVANCE


async def test_missing_query_raises() -> None:
    """Without a query the error says how to give one."""
    with pytest.raises(InputError, match=r"postprocess_nodes\(nodes, query_str=...\) needs a query"):
        overlap_postprocessor().postprocess_nodes(scored_nodes())
    with pytest.raises(InputError, match=r"postprocess_nodes\(nodes, query_str=...\) needs a query"):
        await overlap_postprocessor().apostprocess_nodes(scored_nodes())


def test_rank_returns_the_dropped_with_their_nodes() -> None:
    """``rank`` returns the whole ranking, whose payloads are the input nodes themselves."""
    nodes = scored_nodes()
    ranking = overlap_postprocessor(top_n=2).rank(nodes, QUESTION)
    payloads = [ranked.candidate.payload for ranked in (*ranking.kept, *ranking.dropped)]
    by_id = {scored.node.node_id: scored for scored in nodes}
    assert all(payload is by_id[name] for payload, name in zip(payloads, BY_RELEVANCE, strict=True))


async def test_arank_returns_the_same_ranking() -> None:
    """``arank`` returns what ``rank`` returns."""
    ranking = await overlap_postprocessor(top_n=2).arank(scored_nodes(), QueryBundle(QUESTION))
    assert [kept.candidate.id for kept in ranking] == ["answer", "rain"]


async def test_failing_scorer_gives_the_first_stages_order_marked() -> None:
    """Every node is returned in the input's order, with the cause in its record, on both paths."""
    postprocessor = SecondPassRerank(reranker=Reranker(BrokenScorer()))
    for found in (
        postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION),
        await postprocessor.apostprocess_nodes(scored_nodes(), query_str=QUESTION),
    ):
        assert ids(found) == list(TEXTS)
        assert {scored.node.metadata["secondpass"]["degraded"] for scored in found} == {
            "scorer failed: the engine failed"
        }


async def test_on_error_raise_raises_on_both_paths() -> None:
    """With ``on_error="raise"`` the scorer's error is raised."""
    postprocessor = SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise"))
    with pytest.raises(ScoringError, match="engine failed"):
        postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    with pytest.raises(ScoringError, match="engine failed"):
        await postprocessor.apostprocess_nodes(scored_nodes(), query_str=QUESTION)


def test_a_ranking_becomes_nodes() -> None:
    """``nodes`` makes of a ranking what the postprocessor returns; a call by hand can exclude."""
    postprocessor = overlap_postprocessor(top_n=1)
    first = postprocessor.nodes(postprocessor.rank(scored_nodes(), QUESTION))
    assert first == postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    second = postprocessor.nodes(postprocessor.rank(scored_nodes(), QUESTION, exclude=first))
    assert ids([*first, *second]) == BY_RELEVANCE[:2]
