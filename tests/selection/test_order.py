"""The order in which the reader sees what was kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import judge

from secondpass.ranking import Judged
from secondpass.scores import Score
from secondpass.selection.order import ORDERS, Order, reading_order


def shuffled(ranks: list[int]) -> list[Judged]:
    """Return judged candidates, best first, with these first-stage ranks."""
    (one,) = judge("x")
    return [Judged(one.candidate, Score(0.0), None, None, rank) for rank in ranks]


@pytest.mark.parametrize(
    ("order", "positions"),
    [("relevance", [0, 1, 2, 3, 4]), ("original", [1, 2, 0, 4, 3]), ("ends", [0, 2, 4, 3, 1])],
)
def test_orders_by_hand(order: Order, positions: list[int]) -> None:
    """Best first, the first stage's order, or the best at both ends and the weakest in the middle."""
    assert reading_order(shuffled([30, 10, 20, 50, 40]), order) == positions


@pytest.mark.parametrize("order", ORDERS)
@given(ranks=st.lists(st.integers(1, 99), unique=True, max_size=12))
def test_an_order_loses_nobody(order: Order, ranks: list[int]) -> None:
    """Every position comes exactly once."""
    assert sorted(reading_order(shuffled(ranks), order)) == list(range(len(ranks)))


@given(ranks=st.lists(st.integers(1, 99), unique=True, min_size=2, max_size=12))
def test_the_two_best_are_at_the_ends(ranks: list[int]) -> None:
    """With ``ends``, the best is read first and the second best last."""
    positions = reading_order(shuffled(ranks), "ends")
    assert (positions[0], positions[-1]) == (0, 1)
