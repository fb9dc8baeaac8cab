"""Earlier results: what isn't to be kept again, and what the LLM's prompt began with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Scripted, count_words, texts

from secondpass import Candidate, ContextBudget, Ranking, Reranker, Selection
from secondpass.errors import InputError

LIFE = "a flea lives for two or three months on a warm and hairy host"
LIFE_AGAIN = "a flea lives for two or three months on a warm and furry host"


def rank(items: list[Any], earlier: dict[str, Any] | None = None, **settings: Any) -> Ranking:
    """Return the ranking of candidates, which all score the same, with earlier results."""
    return Reranker(Scripted({}), selection=Selection(**settings)).rerank("fox", items, **(earlier or {}))


@pytest.mark.parametrize(
    "exclude",
    [["1"], [Candidate("other text", id="1")], [Candidate("fox")], ["1", "unknown"]],
    ids=["id", "candidate of that id", "text", "one of two ids"],
)
def test_what_was_kept_before_is_excluded(exclude: list[Any]) -> None:
    """A candidate with the id or the text of an earlier one is dropped, with its own reason."""
    ranking = rank([Candidate("fox", id="1"), Candidate("dog", id="2")], {"exclude": exclude})
    assert texts(ranking) == ["dog"]
    assert str(ranking.dropped[0].reason) == "excluded"


def test_a_ranking_excludes_what_it_kept() -> None:
    """A second search brings what the first didn't keep; the reason names the earlier candidate."""
    first = rank(["fox", "dog", "cat"], top_k=2)
    second = rank(["fox", "dog", "cat"], {"exclude": first})
    assert texts(second) == ["cat"]
    assert [item.because_of for item in second.dropped] == [kept.candidate for kept in first]
    assert rank(["fox"], {"exclude": first}).nothing_relevant


@pytest.mark.parametrize(("duplicates", "kept"), [("near", []), ("exact", [LIFE_AGAIN]), ("keep", [LIFE_AGAIN])])
def test_near_duplicates_of_earlier_ones_are_excluded(duplicates: str, kept: list[str]) -> None:
    """With ``duplicates="near"``, a text that is similar to an earlier one isn't new either."""
    ranking = rank([LIFE_AGAIN], {"exclude": [Candidate(LIFE)]}, duplicates=duplicates, near=0.6)
    assert texts(ranking) == kept
    assert all(item.detail == "similarity 0.71" for item in ranking.dropped)


@pytest.mark.parametrize("results", [{"exclude": "fox"}, {"exclude": [3]}, {"previous": ["fox"]}, {"previous": 3}])
def test_results_of_another_type_are_refused(results: dict[str, Any]) -> None:
    """A single string, a number, or an id where a text is needed, is an InputError."""
    with pytest.raises(InputError, match=r"must be a Ranking,? or a list"):
        rank(["fox"], results)


names = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1, max_size=8)


@given(before=names, after=names, top_k=st.integers(1, 8), template=st.sampled_from(["{text}", "[{index}] {text}"]))
def test_the_common_prefix_is_kept(before: list[str], after: list[str], top_k: int, template: str) -> None:
    """As far as the candidates of the previous context are kept again, the new context begins as it did."""
    settings = {"budget": ContextBudget(99, counter=count_words, template=template), "top_k": top_k, "order": "stable"}
    old = rank(before, **settings)
    new = rank(after, {"previous": old}, **settings)
    kept = set(texts(new))
    stays = next((position for position, text in enumerate(texts(old)) if text not in kept), len(old))
    assert texts(new)[:stays] == texts(old)[:stays]
    assert texts(new)[stays:] == [text for text in after[:top_k] if text not in texts(old)[:stays]]
    tokens = stays * count_words(template)
    expected = f"the first {stays} of the previous {len(old)} candidates, {tokens} tokens"
    assert new.stages[-1].facts["prefix"] == expected


def test_a_cut_text_ends_the_prefix() -> None:
    """A candidate that was cut before stands where it stood, and what follows is no longer the same prefix."""
    budget = ContextBudget(3, counter=count_words)
    old = rank(["One two. Three four."], policy="truncate", budget=budget)
    settings = {"order": "stable", "budget": ContextBudget(9, counter=count_words)}
    candidate = old[0].candidate
    new = Reranker(Scripted({"five": 1.0}), selection=Selection(**settings)).rerank(  # type: ignore[arg-type]
        "fox", ["five", Candidate(candidate.text, id="1")], previous=[(Candidate(candidate.text, id="1"), "One two.")]
    )
    assert texts(new) == ["One two. Three four.", "five"]
    assert new.stages[-1].facts["prefix"] == "the first 0 of the previous 1 candidates, 0 tokens"


def test_without_a_previous_context_stable_is_by_relevance() -> None:
    """The first prompt of a chat has nothing to continue."""
    assert texts(rank(["b", "a"], order="stable")) == ["b", "a"]
    assert rank(["b", "a"], order="stable").stages[-1].facts == {}
