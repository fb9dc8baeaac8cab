"""Near-duplicates and maximal marginal relevance: what stands for what, and what was displaced by what."""

import math

import pytest
from worlds import count_words, judge, reasons, texts

from secondpass import Candidate, ContextBudget, Selection
from secondpass.ranking import Ranked
from secondpass.records import Score, Unscored, UnscoredReason
from secondpass.selection.select import Selected, select

LIFE = "a flea lives for two or three months on a warm and hairy host"
LIFE_AGAIN = "a flea lives for two or three months on a warm and furry host"
LIFE_SHORT = "a flea lives for two or three months on a warm host"
JUMP = "fleas jump up to two hundred times their own length"
MARKET = "the market opens at nine in the morning"


def chosen(*given: str | Candidate, values: list[float] | None = None, **settings: object) -> Selected:
    """Return a selection among texts, best first."""
    return select(judge(*given, values=values), Selection(**settings))  # type: ignore[arg-type]


def test_a_near_duplicate_names_the_kept_one() -> None:
    """A text with one other word is dropped, with the similarity and the candidate that stands for it."""
    selected = chosen(LIFE, JUMP, LIFE_AGAIN, duplicates="near", near=0.6)
    (dropped,) = selected.dropped
    assert texts(selected.kept) == [LIFE, JUMP]
    assert (str(dropped.reason), dropped.because_of.text) == ("duplicate", LIFE)  # type: ignore[union-attr]
    assert dropped.detail == "similarity 0.71"


@pytest.mark.parametrize(("near", "kept"), [(0.6, 1), (0.71, 1), (0.72, 2), (1.0, 2)])
def test_the_threshold_decides(near: float, kept: int) -> None:
    """From which similarity on a text is a near-duplicate can be set; here it is 10 / 14."""
    assert len(chosen(LIFE, LIFE_AGAIN, duplicates="near", near=near).kept) == kept


def test_exact_duplicates_are_near_ones() -> None:
    """``near`` drops equal texts too, also where they differ in case and punctuation."""
    assert reasons(chosen(LIFE, LIFE.upper() + "!", LIFE, duplicates="near").dropped).keys() == {
        LIFE.upper() + "!",
        LIFE,
    }


def test_of_several_the_most_similar_stands_for_it() -> None:
    """``because_of`` is the nearest of the kept, not the best."""
    selected = chosen(LIFE_SHORT, LIFE, LIFE_AGAIN, duplicates="near", near=0.7)
    assert texts(selected.kept) == [LIFE_SHORT, LIFE]
    assert [item.because_of.text for item in selected.dropped] == [LIFE]  # type: ignore[union-attr]


def test_what_is_not_kept_stands_for_nothing() -> None:
    """A near-duplicate of a text that doesn't fit the budget takes its place where it fits."""
    longer = f"{LIFE_AGAIN} and then it dies"
    budget = ContextBudget(14, counter=count_words)
    selected = chosen(longer, LIFE, LIFE_AGAIN, duplicates="near", near=0.6, budget=budget)
    assert texts(selected.kept) == [LIFE]
    assert reasons(selected.dropped) == {longer: "over budget", LIFE_AGAIN: "duplicate"}
    assert selected.dropped[1].because_of is selected.kept[0].candidate


def test_near_duplicates_beyond_top_n_are_still_named() -> None:
    """Where the number is reached, a near-duplicate of a kept one is reported as such, and others as over top-n."""
    selected = chosen(LIFE, MARKET, LIFE_AGAIN, duplicates="near", near=0.6, top_n=1)
    assert reasons(selected.dropped) == {MARKET: "over top-n", LIFE_AGAIN: "duplicate"}


def test_marginal_relevance_by_hand() -> None:
    """Of 0.9, 0.8 and 0.5, the second has a similarity of 10 / 14 to the first; the weight decides which follows."""
    odds = [math.log(p / (1 - p)) for p in (0.9, 0.8, 0.5)]
    selected = chosen(LIFE, LIFE_AGAIN, JUMP, values=odds, top_n=2, diversity=0.2)
    assert texts(selected.kept) == [LIFE, LIFE_AGAIN]
    assert 0.8 * 0.8 - 0.2 * 10 / 14 > 0.8 * 0.5
    selected = chosen(LIFE, LIFE_AGAIN, JUMP, values=odds, top_n=2, diversity=0.5)
    assert texts(selected.kept) == [LIFE, JUMP]
    assert 0.5 * 0.8 - 0.5 * 10 / 14 < 0.5 * 0.5


@pytest.mark.parametrize("limit", [{"top_n": 2}, {"budget": ContextBudget(28, counter=count_words)}])
def test_what_similarity_displaced_names_the_kept_one(limit: dict[str, object]) -> None:
    """A candidate whose place a less relevant one took is dropped for diversity, because of the nearest kept one."""
    selected = chosen(LIFE, LIFE_AGAIN, JUMP, values=[2.0, 1.9, 1.8], diversity=0.5, **limit)
    (dropped,) = selected.dropped
    assert (str(dropped.reason), dropped.because_of.text) == ("diversity", LIFE)  # type: ignore[union-attr]
    assert dropped.detail == "similarity 0.71; less relevant candidates differ more"
    assert {item.text: item.rank for item in selected.kept} == {LIFE: 1, JUMP: 2}


def test_what_would_not_have_fitted_anyway_is_over_budget() -> None:
    """Diversity isn't the reason where the candidate is too long for the place of the less relevant ones."""
    longer = f"{LIFE_AGAIN} and then it dies"
    budget = ContextBudget(25, counter=count_words)
    selected = chosen(LIFE, longer, JUMP, values=[2.0, 1.9, 1.8], diversity=0.5, budget=budget)
    assert reasons(selected.dropped) == {longer: "over budget"}


def test_without_a_limit_diversity_drops_nothing() -> None:
    """Marginal relevance is the sequence of packing alone; the reading order stays by relevance."""
    assert texts(chosen(LIFE, LIFE_AGAIN, JUMP, diversity=0.9).kept) == [LIFE, LIFE_AGAIN, JUMP]


def test_candidates_without_a_score_follow() -> None:
    """However different it is, a candidate without a score is packed after the scored ones."""
    judged = judge(LIFE, LIFE_AGAIN, JUMP, values=[2.0, 1.0, Unscored(UnscoredReason.DEADLINE)])
    assert texts(select(judged, Selection(diversity=1.0, top_n=2)).kept) == [LIFE, LIFE_AGAIN]


def test_fused_values_are_scaled() -> None:
    """With fusion the fused value is the relevance, scaled by the best and the worst of the candidates."""
    fused = zip([LIFE, LIFE_AGAIN, JUMP], [0.0164, 0.0163, 0.0160], strict=True)
    judged = [
        Ranked(Candidate(text), rank, Score(0.0), 0.5, value, rank + 1) for rank, (text, value) in enumerate(fused)
    ]
    assert texts(select(judged, Selection(diversity=0.3, top_n=2)).kept) == [LIFE, LIFE_AGAIN]
    assert texts(select(judged, Selection(diversity=0.6, top_n=2)).kept) == [LIFE, JUMP]
