"""Earlier results, which aren't to be kept again."""

from typing import Any

import pytest
from worlds import Scripted, texts

from secondpass import Candidate, Ranking, Reranker, Selection
from secondpass.errors import InputError

LIFE = "a flea lives for two or three months on a warm and hairy host"
LIFE_AGAIN = "a flea lives for two or three months on a warm and furry host"


def rank(items: list[Any], exclude: Any = (), **settings: Any) -> Ranking:
    """Return the ranking of candidates, which all score the same, without earlier results."""
    return Reranker(Scripted({}), selection=Selection(**settings)).rerank("fox", items, exclude=exclude)


@pytest.mark.parametrize(
    "exclude",
    [["1"], [Candidate("other text", id="1")], [Candidate("fox")], ["1", "unknown"]],
    ids=["id", "candidate of that id", "text", "one of two ids"],
)
def test_what_was_kept_before_is_excluded(exclude: list[Any]) -> None:
    """A candidate with the id or the text of an earlier one is dropped, with its own reason."""
    ranking = rank([Candidate("fox", id="1"), Candidate("dog", id="2")], exclude)
    assert texts(ranking) == ["dog"]
    assert str(ranking.dropped[0].reason) == "excluded"


def test_a_ranking_excludes_what_it_kept() -> None:
    """A second search brings what the first didn't keep; the reason names the earlier candidate."""
    first = rank(["fox", "dog", "cat"], top_n=2)
    second = rank(["fox", "dog", "cat"], first)
    assert texts(second) == ["cat"]
    assert [item.because_of for item in second.dropped] == [kept.candidate for kept in first]
    assert rank(["fox"], first).nothing_relevant


@pytest.mark.parametrize(("duplicates", "kept"), [("near", []), ("exact", [LIFE_AGAIN]), ("keep", [LIFE_AGAIN])])
def test_near_duplicates_of_earlier_ones_are_excluded(duplicates: str, kept: list[str]) -> None:
    """With ``duplicates="near"``, a text that is similar to an earlier one isn't new either."""
    near = {"near": 0.6} if duplicates == "near" else {}
    ranking = rank([LIFE_AGAIN], [Candidate(LIFE)], duplicates=duplicates, **near)
    assert texts(ranking) == kept
    assert all(item.detail == "similarity 0.71" for item in ranking.dropped)


@pytest.mark.parametrize("exclude", ["fox", 3, [3]])
def test_results_of_another_type_are_refused(exclude: Any) -> None:
    """A single string, a number, or a list of numbers is an InputError."""
    with pytest.raises(InputError, match=r"exclude must be a Ranking,? or a list"):
        rank(["fox"], exclude)
