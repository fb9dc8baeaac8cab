"""The compressor's selection settings: top-n, budget, threshold, order."""

from collections.abc import Callable

import pytest
from langchain_core.documents import Document
from langchain_support import QUESTION, TEXTS, documents, ids, overlap_compressor, tokens

from secondpass import ContextBudget, OverlapScorer, Reranker, Selection, Windowed, Windows
from secondpass.errors import BudgetError, ConfigurationError, InputError
from secondpass.langchain import SecondPassRerank
from secondpass.selection.packing import Policy

EXACT = {"counter": tokens}  # "answer" counts 8 tokens, "rain" 8, "fast" 4, a separator 2


def test_budget_in_tokens_is_counted_by_the_estimate() -> None:
    """A whole number is a budget in tokens, and the ranking reports that they are estimated."""
    ranking = overlap_compressor(budget=12).rank(documents(), QUESTION)
    facts = ranking.stages[-1].facts
    assert (facts["max_tokens"], facts["counter"], facts["exact"]) == (12, "estimate", False)
    assert 0 < len(ranking) < len(TEXTS)


def test_budget_callable_is_called_with_each_query() -> None:
    """A callable is called once for each query, and its budget applies to that query alone."""
    asked: list[str] = []

    def by_question(query: str) -> ContextBudget:
        asked.append(query)
        return ContextBudget(8 if query == QUESTION else 100, **EXACT)

    compressor = overlap_compressor(budget=by_question)
    sizes = [len(compressor.compress_documents(documents(), query)) for query in (QUESTION, "salt", QUESTION)]
    assert asked == [QUESTION, "salt", QUESTION]
    assert sizes == [1, 5, 1]


async def test_budget_callable_is_called_on_the_async_path_too() -> None:
    """``acompress_documents`` calls the budget with the query."""
    asked: list[str] = []
    compressor = overlap_compressor(budget=lambda query: asked.append(query) or 20)
    found = await compressor.acompress_documents(documents("fast"), QUESTION)
    assert asked == [QUESTION]
    assert ids(found) == ["fast"]


@pytest.mark.parametrize("answer", [lambda query: -1, lambda query: "many"], ids=["negative", "word"])
def test_budget_callable_that_returns_no_budget_raises(answer: Callable[[str], int]) -> None:
    """An invalid budget raises at the call, though scoring failures degrade by default."""
    with pytest.raises(BudgetError, match="max_tokens must be"):
        overlap_compressor(budget=answer).compress_documents(documents(), QUESTION)


@pytest.mark.parametrize("policy", ["truncate", "extract", "fill"])
@pytest.mark.parametrize("add_metadata", [True, False])
def test_the_start_index_of_a_splitter_follows_what_is_kept(policy: Policy, *, add_metadata: bool) -> None:
    """A part of a document says where it begins in the source that the document was split from."""
    text = "It rained on that day. The arctic tern flies far in a year. Nobody saw it from the shore."
    found = Document(text, metadata={"start_index": 1_000})
    reranker = Reranker(Windowed(OverlapScorer(), Windows(10, overlap=0)))
    budget = ContextBudget(9, counter=lambda text: len(text.split()))
    compressor = SecondPassRerank(reranker=reranker, budget=budget, policy=policy, add_metadata=add_metadata)
    (kept,) = compressor.compress_documents([found], "arctic tern")
    assert kept.page_content == "The arctic tern flies far in a year."
    assert kept.metadata["start_index"] == 1_000 + text.index(kept.page_content)
    assert found.metadata == {"start_index": 1_000}


def test_truncate_cuts_a_document_at_a_sentence_end() -> None:
    """The first document that doesn't fit is cut in its copy, and the input document stays whole."""
    [long] = documents("answer")
    long.page_content += " They come back in April, when the insects do."
    compressor = overlap_compressor(budget=ContextBudget(10, **EXACT), policy="truncate")
    [found] = compressor.compress_documents([long], QUESTION)
    assert found.page_content == TEXTS["answer"]
    assert long.page_content.endswith("insects do.")


def test_rerankers_selection_applies_where_the_compressor_sets_nothing() -> None:
    """A compressor's setting replaces that of the shared reranker, whose other settings still apply."""
    reranker = Reranker(OverlapScorer(), selection=Selection(top_n=3, order="original"))
    assert ids(SecondPassRerank(reranker=reranker).compress_documents(documents(), QUESTION)) == [
        "answer",
        "fast",
        "rain",
    ]
    limited = SecondPassRerank(reranker=reranker, top_n=2)
    assert ids(limited.compress_documents(documents(), QUESTION)) == ["answer", "rain"]


def test_top_n_of_one_call_replaces_the_compressors() -> None:
    """``rank(top_n=...)`` applies to that call alone, None sets no limit there, and 0 is refused."""
    compressor = overlap_compressor(top_n=4)
    sizes = [len(compressor.rank(documents(), QUESTION, top_n=n)) for n in (1, None, "default")]
    assert sizes == [1, 5, 4]
    given = {"query": QUESTION, "documents": documents()}
    assert [len(compressor.invoke(given, top_n=None)), len(compressor.invoke(given))] == [5, 4]
    with pytest.raises(ConfigurationError, match=r"top_n must be .*got 0"):
        compressor.rank(documents(), QUESTION, top_n=0)


def test_a_cut_document_without_an_id_is_not_excluded_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """Its text is no longer the retriever's: its ranking excludes it, and so does its id."""
    compressor = overlap_compressor(budget=ContextBudget(10, **EXACT), policy="truncate")
    asked = [Document(page_content="A flea lives long. " * 9)]
    first = compressor.rank(asked, QUESTION)
    assert not compressor.rank(asked, QUESTION, exclude=first).kept
    assert not caplog.messages
    assert compressor.rank(asked, QUESTION, exclude=compressor.documents(first)).kept
    assert "exclude can't recognise a document that was cut and has no id" in caplog.text


@pytest.mark.parametrize("key", ["top_n", "budgt", "histroy"])
def test_misspelt_input_keys_are_refused(key: str) -> None:
    """A key that nearly is one of ours would be ignored in silence; a chain's own keys pass."""
    given = {"query": QUESTION, "documents": documents(), "question": QUESTION, "chat_history": []}
    assert overlap_compressor().invoke(given)
    with pytest.raises(InputError, match=f"keys are query, documents, budget, history, exclude, got '{key}'"):
        overlap_compressor().invoke(given | {key: 2})
