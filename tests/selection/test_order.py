"""The order in which the LLM reads the kept candidates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import judge

from secondpass.ranking import Ranked
from secondpass.records import Score
from secondpass.selection.order import ORDERS, Order, in_reading_order


def shuffled(ranks: list[int]) -> list[Ranked]:
    """Return judged candidates, best first, with these first-stage ranks."""
    (one,) = judge("x")
    return [Ranked(one.candidate, index, Score(0.0), None, None, rank) for index, rank in enumerate(ranks)]


def read(ranks: list[int], order: Order) -> list[int]:
    """Return these first-stage ranks, best first, in reading order."""
    return [item.rank_before for item in in_reading_order(shuffled(ranks), order)]


@pytest.mark.parametrize(
    ("order", "ranks"),
    [("relevance", [30, 10, 20, 50, 40]), ("original", [10, 20, 30, 40, 50]), ("ends", [30, 20, 40, 50, 10])],
)
def test_orders_by_hand(order: Order, ranks: list[int]) -> None:
    """Best first, the first stage's order, or the best at both ends and the weakest in the middle."""
    assert read([30, 10, 20, 50, 40], order) == ranks


@pytest.mark.parametrize("order", ORDERS)
@given(ranks=st.lists(st.integers(1, 99), unique=True, max_size=12))
def test_an_order_loses_no_candidate(order: Order, ranks: list[int]) -> None:
    """Every candidate comes exactly once."""
    assert sorted(read(ranks, order)) == sorted(ranks)


@given(ranks=st.lists(st.integers(1, 99), unique=True, min_size=2, max_size=12))
def test_the_two_best_are_at_the_ends(ranks: list[int]) -> None:
    """With ``ends``, the best is read first and the second best last."""
    in_order = read(ranks, "ends")
    assert (in_order[0], in_order[-1]) == (ranks[0], ranks[1])
