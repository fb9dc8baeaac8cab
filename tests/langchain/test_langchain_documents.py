"""The compressor's documents: copies in a new order, with two metadata keys added and nothing else changed."""

import asyncio
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_support import BY_RELEVANCE, QUESTION, TEXTS, documents, ids, overlap_compressor

from secondpass import OverlapScorer, Reranker, Selection, WeightedSum
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
def test_results_are_copies_with_two_metadata_keys_added(given_documents: list[Document], query: str) -> None:
    """The inputs stay unchanged, and each result is the copy of an input plus the two metadata keys."""
    before = copy.deepcopy(given_documents)
    found = overlap_compressor().compress_documents(given_documents, query)
    assert given_documents == before
    for document in found:
        kept = {name: value for name, value in document.metadata.items() if name not in ADDED}
        assert document.model_copy(update={"metadata": kept}) in before


def test_metadata_of_a_result_is_a_dictionary_of_its_own() -> None:
    """Changing a result's metadata doesn't change the input document."""
    given_documents = documents("answer")
    [found] = overlap_compressor().compress_documents(given_documents, QUESTION)
    found.metadata["source"] = "changed"
    assert given_documents[0].metadata == {"source": "answer"}


def test_document_subclasses_keep_their_class_and_fields() -> None:
    """A result has the class of its input document."""
    [found] = overlap_compressor().compress_documents([Page(page_content="swallows", number=7, id="p7")], QUESTION)
    assert type(found) is Page
    assert (found.number, found.id) == (7, "p7")


def test_most_relevant_documents_come_first() -> None:
    """The order is that of the model's scores, not the first stage's."""
    assert ids(overlap_compressor().compress_documents(documents(), QUESTION)) == BY_RELEVANCE


def test_relevance_score_is_a_plain_float_and_the_metadata_is_valid_json() -> None:
    """``relevance_score`` is the probability, as Python's own float."""
    found = overlap_compressor().compress_documents(documents(), QUESTION)
    assert [document.metadata["relevance_score"] for document in found] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert {type(document.metadata["relevance_score"]) for document in found} == {float}
    assert json.loads(json.dumps(found[0].metadata)) == found[0].metadata


def test_record_has_score_and_both_ranks_and_nothing_else() -> None:
    """The record ``secondpass`` has the numbers that are known, and the metadata has no further keys."""
    best = overlap_compressor().compress_documents(documents(), QUESTION)[0]
    assert best.metadata["secondpass"] == {"rank": 1, "rank_before": 3, "score": 0.8, "probability": 0.8}
    assert set(best.metadata) == {"source", *ADDED}


def test_nones_in_metadata_are_kept() -> None:
    """A metadata key whose value is None stays."""
    [found] = overlap_compressor().compress_documents([Document("swallows", metadata={"author": None})], QUESTION)
    assert found.metadata["author"] is None
    assert set(found.metadata) == {"author", *ADDED}


def test_empty_page_content_is_never_ranked() -> None:
    """A document without text is dropped as invalid, and the others are scored."""
    ranking = overlap_compressor().rank([Document(""), Document(" \n"), *documents("answer")], QUESTION)
    assert [kept.candidate.id for kept in ranking] == ["answer"]
    assert [dropped.reason for dropped in ranking.dropped] == ["invalid", "invalid"]


@pytest.mark.parametrize("names", [[], ["answer"], ["bread", "answer"]], ids=["none", "one", "two"])
def test_top_n_above_the_number_of_documents_keeps_them_all(names: list[str]) -> None:
    """Fewer documents than ``top_n`` are no error, and neither is an empty list."""
    given_documents = documents(*names) if names else []
    assert len(overlap_compressor(top_n=5).compress_documents(given_documents, QUESTION)) == len(names)


def test_second_reranking_replaces_the_first_ones_record() -> None:
    """A document that is reranked twice has the later numbers alone."""
    once = overlap_compressor().compress_documents(documents(), QUESTION)
    twice = overlap_compressor().compress_documents(once, "is bread warm")
    assert ids(twice)[:2] == ["wall", "bread"]
    assert twice[0].metadata["secondpass"]["rank_before"] == 4
    assert once[3].metadata["secondpass"]["rank"] == 4


def test_score_key_gives_the_fusion_first_stage_scores() -> None:
    """With a fusion that uses the first stage alone, the scores in the metadata decide the order."""
    reranker = Reranker(OverlapScorer(), fusion=WeightedSum(alpha=1))
    stored = [
        Document(TEXTS[name], id=name, metadata={"bm25": n}) for n, name in enumerate(["answer", "bread", "rain"])
    ]
    found = SecondPassRerank(reranker=reranker, score_key="bm25").compress_documents(stored, QUESTION)
    assert ids(found) == ["rain", "bread", "answer"]
    assert found[0].metadata["secondpass"]["first_stage_score"] == 2.0


def test_first_stage_score_that_is_no_number_is_refused() -> None:
    """The error names the value under ``score_key``."""
    with pytest.raises(InputError, match="must be a number or None, got 'high'"):
        overlap_compressor(score_key="grade").compress_documents([Document("a", metadata={"grade": "high"})], QUESTION)


def test_rank_returns_the_dropped_with_their_documents() -> None:
    """``rank`` returns the whole ranking, whose payloads are the input documents themselves."""
    given_documents = documents()
    ranking = overlap_compressor(top_n=2).rank(given_documents, QUESTION)
    payloads = [ranked.candidate.payload for ranked in (*ranking.kept, *ranking.dropped)]
    by_id = {document.id: document for document in given_documents}
    assert all(payload is by_id[name] for payload, name in zip(payloads, BY_RELEVANCE, strict=True))
    assert [dropped.reason for dropped in ranking.dropped] == ["over top-n"] * 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_n": 2},
        {"budget": 12},
        {"min_probability": 0.5},
        {"selection": Selection(order="ends")},
        {"budget": 12, "policy": "truncate"},
    ],
    ids=str,
)
def test_async_path_gives_the_same(options: dict[str, Any]) -> None:
    """``acompress_documents`` returns what ``compress_documents`` returns."""
    compressor = overlap_compressor(**options)
    expected = compressor.compress_documents(documents(), QUESTION)
    assert asyncio.run(compressor.acompress_documents(documents(), QUESTION)) == expected
    assert len(expected) > 0


def test_score_key_that_no_document_has_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt key costs the fusion its scores: one warning names it, and the order of the documents counts."""
    assert overlap_compressor(score_key="bm52").compress_documents(documents(), QUESTION)
    assert [record.getMessage() for record in caplog.records] == [
        "no document has the score_key 'bm52': their order alone counts"
    ]
