"""Interleaving of two rerankers, and the sequential test on its outcomes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Scripted

from secondpass import Reranker, Selection
from secondpass.errors import ConfigurationError, InputError
from secondpass.observe.interleaving import Preference, interleave
from secondpass.ranking import Ranking

TEXTS = [f"text {number}" for number in range(8)]


def ranking(values: list[float], top_n: int | None = None) -> Ranking:
    scorer = Scripted(dict(zip(TEXTS, values, strict=False)))
    return Reranker(scorer, selection=Selection(top_n=top_n)).rerank("q", TEXTS[: len(values)])


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.permutations(list(range(n)))] * 2)), st.integers(0, 99))
def test_a_merged_list_holds_each_item_once_and_is_fair(orders: tuple[list[int], list[int]], seed: int) -> None:
    """Each candidate comes once; after any even number of items both sides chose as many; each chose its best left.

    The last of an odd number is nobody's, since the other side has none to set against it.
    """
    first, second = (ranking([float(value) for value in order]) for order in orders)
    merged = interleave(first, second, seed=seed)
    indexes = [item.index for item in merged.kept]
    assert sorted(indexes) == sorted(item.index for item in first.kept)
    for length in range(0, len(indexes) + 1, 2):
        assert merged.sides[:length].count("first") == length // 2
    assert merged.sides[len(indexes) // 2 * 2 :].count(None) == len(indexes) % 2
    for place, side in enumerate(merged.sides):
        own = [item.index for item in (first if side == "first" else second).kept]
        assert indexes[place] == next(index for index in own if index not in indexes[:place])


def test_who_begins_is_drawn_by_lot() -> None:
    """Over many lists each side begins about half of the time."""
    first, second = ranking([1, 2]), ranking([2, 1])
    begun = sum(interleave(first, second, seed=seed).sides[0] == "first" for seed in range(200))
    assert 70 < begun < 130


def test_clicks_are_credited_to_who_chose_the_item() -> None:
    """More clicks on one side's items win; as many are a tie; a click counts once."""
    merged = interleave(ranking([1, 2, 3, 4]), ranking([4, 3, 2, 1]), seed=1)
    firsts = [place for place, side in enumerate(merged.sides) if side == "first"]
    seconds = [place for place, side in enumerate(merged.sides) if side == "second"]
    assert merged.credit(firsts) == 1
    assert merged.credit([seconds[0], seconds[0]]) == -1
    assert merged.credit([firsts[0], seconds[0]]) == merged.credit([]) == 0
    with pytest.raises(InputError, match="positions must be from 0 to 3"):
        merged.credit([4])


def test_rankings_of_other_candidates_are_refused() -> None:
    """What is interleaved must come from the same candidates, and the list have a length."""
    with pytest.raises(InputError, match="same candidates"):
        interleave(ranking([1, 2]), ranking([1, 2, 3]))
    with pytest.raises(ConfigurationError, match="limit"):
        interleave(ranking([1]), ranking([1]), limit=0)


def test_the_list_ends_at_the_limit_and_where_both_end() -> None:
    """The limit cuts within a turn; without one the longer ranking decides."""
    assert len(interleave(ranking([1, 2, 3, 4]), ranking([4, 3, 2, 1]), limit=3).kept) == 3
    assert len(interleave(ranking([1, 2, 3], top_n=1), ranking([3, 2, 1], top_n=2)).kept) == 2


@pytest.mark.parametrize(("first", "second"), [((1, 5), (1, 10)), ((1, 6), (4, 7)), ((1, 4), (2, 3)), ((1, 9), (5, 9))])
def test_a_longer_or_overlapping_list_has_no_advantage(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Clicks at random on any item are credited to both sides as often, whichever list is longer; no item is lost."""
    lots, wins = random.Random(0), {1: 0, 0: 0, -1: 0}
    texts = [str(number) for number in range(10)]

    def of(start: int, end: int) -> Ranking:
        """Rank the texts from one place to another, the same order in both lists."""
        scores = {text: float(-place) if start <= place + 1 <= end else -99.0 for place, text in enumerate(texts)}
        selection = Selection(min_probability=1e-20)
        return Reranker(Scripted(scores), selection=selection).rerank("q", texts)

    rankings = of(*first), of(*second)
    for seed in range(600):
        merged = interleave(*rankings, seed=seed)
        assert len(merged.kept) == max(map(len, (ranking.kept for ranking in rankings)))
        wins[merged.credit([place for place in range(len(merged.kept)) if lots.random() < 0.3])] += 1
    decided = wins[1] + wins[-1]
    assert abs(wins[1] - decided / 2) < 3 * (decided / 4) ** 0.5


def test_a_decision_stays() -> None:
    """What was decided at 30 : 0 is so at 30 : 30 too; a test that begins with even counts has decided nothing."""
    test = Preference()
    for credit in [1] * 30 + [-1] * 30:
        test.add(credit)
    assert test.decided == "first"
    assert Preference(first=30, second=30).decided is None
    assert Preference(first=5, second=40).decided == "second"


def test_a_clear_preference_is_decided_early() -> None:
    """A side that wins nine in ten is found within fifty impressions."""
    test, lots = Preference(), random.Random(0)
    while test.decided is None and test.first + test.second < 200:
        test.add(1 if lots.random() < 0.9 else -1)
    assert test.decided == "first"
    assert test.first + test.second < 50


def test_reading_the_test_all_the_time_keeps_its_error_rate() -> None:
    """Of 300 experiments without a difference, each read 500 times, at most one in twenty and a margin decide."""
    lots, decided = random.Random(1), 0
    for _ in range(300):
        test = Preference(alpha=0.05)
        for _ in range(500):
            test.add(lots.choice((1, -1)))
        decided += test.decided is not None
    assert decided <= 300 * 0.05 + 3 * (300 * 0.05 * 0.95) ** 0.5


@given(st.lists(st.sampled_from([1, 0, -1]), max_size=60))
def test_the_p_value_never_rises_and_the_interval_holds_the_share(given_credits: list[int]) -> None:
    """Whatever comes, p falls or stays, and the share is within its interval."""
    test, before = Preference(), 1.0
    for credit in given_credits:
        test.add(credit)
        assert test.p_value <= before
        before = test.p_value
        share, low, high = test.share
        assert 0 <= low <= share <= high <= 1


def test_impossible_credits_and_settings_are_refused() -> None:
    """A credit is 1, 0 or -1, and alpha a probability."""
    with pytest.raises(InputError, match="credit"):
        Preference().add(2)
    with pytest.raises(ConfigurationError, match="alpha"):
        Preference(alpha=1.0)
