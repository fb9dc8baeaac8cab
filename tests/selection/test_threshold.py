"""Dropping what the model holds for irrelevant, and what could not be judged."""

import math

import pytest
from worlds import judge, reasons, texts

from secondpass.scores import Unscored, UnscoredReason
from secondpass.selection.threshold import split_threshold, split_unranked

EVEN, THREE_TO_ONE = 0.0, math.log(3)  # log-odds of the probabilities 0.5 and 0.75


def test_candidates_below_the_threshold_are_dropped() -> None:
    """With a threshold of 0.6, a probability of 0.75 stays and one of 0.5 goes, with the figures."""
    stay, (dropped,) = split_threshold(judge("likely", "even", values=[THREE_TO_ONE, EVEN]), 0.6, min_keep=0)
    assert texts(stay) == ["likely"]
    assert reasons([dropped]) == {"even": "below threshold"}
    assert dropped.detail == "probability 0.5000 < 0.6"


def test_the_threshold_itself_is_enough() -> None:
    """A probability of exactly the threshold stays."""
    assert texts(split_threshold(judge("even", values=[EVEN]), 0.5, min_keep=0).stay) == ["even"]


def test_without_a_threshold_everything_stays() -> None:
    """None asks nothing."""
    assert texts(split_threshold(judge("hopeless", values=[-50.0]), None, min_keep=0).stay) == ["hopeless"]


@pytest.mark.parametrize(
    ("min_keep", "kept"), [(0, []), (1, ["best"]), (2, ["best", "second"]), (9, ["best", "second", "third"])]
)
def test_the_best_stay_in_any_case(min_keep: int, kept: list[str]) -> None:
    """``min_keep`` saves the best so many from the threshold."""
    judged = judge("best", "second", "third", values=[-3.0, -4.0, -5.0])
    assert texts(split_threshold(judged, 0.9, min_keep).stay) == kept


def test_a_candidate_without_a_score_is_not_below_anything() -> None:
    """What a deadline left unscored has no probability to compare, and stays."""
    late = Unscored(UnscoredReason.DEADLINE)
    stay, dropped = split_threshold(judge("hopeless", "late", values=[-9.0, late]), 0.5, min_keep=0)
    assert (texts(stay), texts(dropped)) == (["late"], ["hopeless"])


@pytest.mark.parametrize(
    ("reason", "dropped_as"),
    [
        (UnscoredReason.INVALID, "invalid"),
        (UnscoredReason.PRUNED, "pruned"),
        (UnscoredReason.DEADLINE, None),
        (UnscoredReason.CANCELLED, None),
        (UnscoredReason.FAILED, None),
    ],
)
def test_who_can_still_be_kept_without_a_score(reason: UnscoredReason, dropped_as: str | None) -> None:
    """Invalid and pruned candidates go; what time or a failure left unscored stays eligible."""
    stay, dropped = split_unranked(judge("x", values=[Unscored(reason, "detail")]))
    assert reasons(dropped) == ({} if dropped_as is None else {"x": dropped_as})
    assert len(stay) == (1 if dropped_as is None else 0)
    assert all(item.detail == "detail" for item in dropped)
