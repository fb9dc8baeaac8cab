"""The compressor's documents: copies in a new order, with two entries added and nothing else changed."""

import asyncio
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_worlds import BY_RELEVANCE, QUESTION, TEXTS, documents, ids, overlap_compressor

from secondpass import OverlapScorer, Reranker, WeightedSum
from secondpass.errors import InputError
from secondpass.langchain import SecondPassRerank

ADDED = {"relevance_score", "secondpass"}

plain = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
metadatas = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in ADDED), plain, max_size=3)
any_document = st.builds(Document, page_content=st.text(max_size=40), metadata=metadatas, id=st.none() | st.text())


class Page(Document):
    """A document class of the user's own."""

    number: int = 0


@given(given_documents=st.lists(any_document, max_size=6), query=st.text(max_size=20))
def test_documents_come_back_as_copies_with_two_entries_added(given_documents: list[Document], query: str) -> None:
    """Whatever goes in stays as it was, and what comes out is an input's copy plus the two entries."""
    before = copy.deepcopy(given_documents)
    found = overlap_compressor().compress_documents(given_documents, query)
    assert given_documents == before
    for document in found:
        kept = {name: value for name, value in document.metadata.items() if name not in ADDED}
        assert document.model_copy(update={"metadata": kept}) in before


def test_metadata_of_a_result_is_a_dictionary_of_its_own() -> None:
    """Writing into a result's metadata doesn't reach the document that went in."""
    given_documents = documents("answer")
    [found] = overlap_compressor().compress_documents(given_documents, QUESTION)
    found.metadata["source"] = "changed"
    assert given_documents[0].metadata == {"source": "answer"}


def test_document_subclasses_keep_their_class_and_fields() -> None:
    """A user's document class comes back as itself."""
    [found] = overlap_compressor().compress_documents([Page(page_content="swallows", number=7, id="p7")], QUESTION)
    assert type(found) is Page
    assert (found.number, found.id) == (7, "p7")


def test_most_relevant_documents_come_first() -> None:
    """The order is the model's, not the first stage's."""
    assert ids(overlap_compressor().compress_documents(documents(), QUESTION)) == BY_RELEVANCE


def test_relevance_score_is_a_plain_float_and_the_metadata_goes_into_json() -> None:
    """The probability stands under ``relevance_score``, as Python's own float."""
    found = overlap_compressor().compress_documents(documents(), QUESTION)
    assert [document.metadata["relevance_score"] for document in found] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert {type(document.metadata["relevance_score"]) for document in found} == {float}
    assert json.loads(json.dumps(found[0].metadata)) == found[0].metadata


def test_entry_tells_score_and_both_ranks_and_nothing_else() -> None:
    """The entry ``secondpass`` holds the numbers that are known, and the metadata holds nothing more."""
    best = overlap_compressor().compress_documents(documents(), QUESTION)[0]
    assert best.metadata["secondpass"] == {"rank": 1, "rank_before": 3, "score": 0.8, "probability": 0.8}
    assert set(best.metadata) == {"source", *ADDED}


def test_nones_in_metadata_are_kept() -> None:
    """A key whose value is None is a key all the same."""
    [found] = overlap_compressor().compress_documents([Document("swallows", metadata={"author": None})], QUESTION)
    assert found.metadata["author"] is None
    assert set(found.metadata) == {"author", *ADDED}


def test_empty_page_content_is_never_ranked() -> None:
    """A document without text is dropped as invalid, and costs nobody else the score."""
    ranking = overlap_compressor().rank([Document(""), Document(" \n"), *documents("answer")], QUESTION)
    assert [kept.candidate.id for kept in ranking] == ["answer"]
    assert [dropped.reason for dropped in ranking.dropped] == ["invalid", "invalid"]


@pytest.mark.parametrize("names", [[], ["answer"], ["bread", "answer"]], ids=["none", "one", "two"])
def test_top_n_above_the_number_of_documents_keeps_them_all(names: list[str]) -> None:
    """Few documents are no error, and neither are none."""
    given_documents = documents(*names) if names else []
    assert len(overlap_compressor(top_n=5).compress_documents(given_documents, QUESTION)) == len(names)


def test_second_pass_replaces_the_first_ones_entries() -> None:
    """A document that was reranked before carries the later numbers alone."""
    once = overlap_compressor().compress_documents(documents(), QUESTION)
    twice = overlap_compressor().compress_documents(once, "is bread warm")
    assert ids(twice)[:2] == ["wall", "bread"]
    assert twice[0].metadata["secondpass"]["rank_before"] == 4
    assert once[3].metadata["secondpass"]["rank"] == 4


def test_score_key_brings_the_first_stages_score_into_the_fusion() -> None:
    """With a fusion that hears the first stage alone, the scores in the metadata decide."""
    reranker = Reranker(OverlapScorer(), fusion=WeightedSum(alpha=1))
    stored = [
        Document(TEXTS[name], id=name, metadata={"bm25": n}) for n, name in enumerate(["answer", "bread", "rain"])
    ]
    found = SecondPassRerank(reranker=reranker, score_key="bm25").compress_documents(stored, QUESTION)
    assert ids(found) == ["rain", "bread", "answer"]
    assert found[0].metadata["secondpass"]["first_stage_score"] == 2.0


def test_score_key_that_holds_no_number_is_named() -> None:
    """A first-stage score that is a word is an error of the input, and says so."""
    with pytest.raises(InputError, match="must be a number or None, got 'high'"):
        overlap_compressor(score_key="grade").compress_documents([Document("a", metadata={"grade": "high"})], QUESTION)


def test_rank_returns_the_dropped_with_their_documents() -> None:
    """The whole ranking is at hand, and its payloads are the very documents that went in."""
    given_documents = documents()
    ranking = overlap_compressor(top_n=2).rank(given_documents, QUESTION)
    payloads = [judged.candidate.payload for judged in (*ranking.kept, *ranking.dropped)]
    by_id = {document.id: document for document in given_documents}
    assert all(payload is by_id[name] for payload, name in zip(payloads, BY_RELEVANCE, strict=True))
    assert [dropped.reason for dropped in ranking.dropped] == ["over top-k"] * 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_n": 2},
        {"budget": 12},
        {"min_probability": 0.5},
        {"order": "ends"},
        {"budget": 12, "policy": "truncate"},
    ],
    ids=str,
)
def test_async_twin_gives_the_same(options: dict[str, Any]) -> None:
    """``acompress_documents`` returns what ``compress_documents`` returns."""
    compressor = overlap_compressor(**options)
    expected = compressor.compress_documents(documents(), QUESTION)
    assert asyncio.run(compressor.acompress_documents(documents(), QUESTION)) == expected
    assert len(expected) > 0
