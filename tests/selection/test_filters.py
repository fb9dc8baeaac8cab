"""Filters: candidates below the threshold, without a valid score, or with a text that is already there."""

import math

import pytest
from worlds import judge, reasons, texts

from secondpass import Candidate
from secondpass.scores import Unscored, UnscoredReason
from secondpass.selection.filters import filter_duplicates, filter_threshold, filter_unranked

EVEN, THREE_TO_ONE = 0.0, math.log(3)  # log-odds of the probabilities 0.5 and 0.75


def test_candidates_below_the_threshold_are_dropped() -> None:
    """With a threshold of 0.6, a probability of 0.75 stays and one of 0.5 goes, with the figures."""
    passed, (dropped,) = filter_threshold(judge("likely", "even", values=[THREE_TO_ONE, EVEN]), 0.6, min_keep=0)
    assert texts(passed) == ["likely"]
    assert reasons([dropped]) == {"even": "below threshold"}
    assert dropped.detail == "probability 0.5000 < 0.6"


def test_the_threshold_itself_is_enough() -> None:
    """A probability of exactly the threshold stays."""
    assert texts(filter_threshold(judge("even", values=[EVEN]), 0.5, min_keep=0).passed) == ["even"]


def test_without_a_threshold_everything_stays() -> None:
    """Without a threshold nothing is dropped, however unlikely."""
    assert texts(filter_threshold(judge("hopeless", values=[-50.0]), None, min_keep=0).passed) == ["hopeless"]


@pytest.mark.parametrize(
    ("min_keep", "kept"), [(0, []), (1, ["best"]), (2, ["best", "second"]), (9, ["best", "second", "third"])]
)
def test_the_best_stay_in_any_case(min_keep: int, kept: list[str]) -> None:
    """``min_keep`` saves the best so many from the threshold."""
    judged = judge("best", "second", "third", values=[-3.0, -4.0, -5.0])
    assert texts(filter_threshold(judged, 0.9, min_keep).passed) == kept


def test_a_candidate_without_a_score_is_not_below_anything() -> None:
    """What a deadline left unscored has no probability to compare, and stays."""
    late = Unscored(UnscoredReason.DEADLINE)
    passed, dropped = filter_threshold(judge("hopeless", "late", values=[-9.0, late]), 0.5, min_keep=0)
    assert (texts(passed), texts(dropped)) == (["late"], ["hopeless"])


@pytest.mark.parametrize(
    ("reason", "dropped_as"),
    [
        (UnscoredReason.INVALID, "invalid"),
        (UnscoredReason.DEADLINE, None),
        (UnscoredReason.CANCELLED, None),
        (UnscoredReason.FAILED, None),
    ],
)
def test_which_candidates_can_be_kept_without_a_score(reason: UnscoredReason, dropped_as: str | None) -> None:
    """Invalid candidates are dropped; those that a deadline or a failure left unscored stay eligible."""
    passed, dropped = filter_unranked(judge("x", values=[Unscored(reason, "detail")]))
    assert reasons(dropped) == ({} if dropped_as is None else {"x": dropped_as})
    assert len(passed) == (1 if dropped_as is None else 0)
    assert all(item.detail == "detail" for item in dropped)


def test_the_best_of_equal_texts_stays() -> None:
    """Of the same text twice the better one stays, and the other names it."""
    first, second = Candidate("fox", id="first"), Candidate("fox", id="second")
    passed, (dropped,) = filter_duplicates(judge(first, "dog", second))
    assert [item.candidate for item in passed] == [first, Candidate("dog")]
    assert dropped.candidate is second
    assert dropped.because_of is first


def test_blanks_around_a_text_make_no_difference() -> None:
    """Texts that differ in outer blanks alone are duplicates."""
    _, dropped = filter_duplicates(judge("fox", " fox\n"))
    assert reasons(dropped) == {" fox\n": "duplicate"}


def test_case_and_inner_blanks_make_a_difference() -> None:
    """Only the same text is a duplicate; anything else may matter."""
    passed, dropped = filter_duplicates(judge("red fox", "Red fox", "red  fox"))
    assert texts(passed) == ["red fox", "Red fox", "red  fox"]
    assert dropped == []


def test_what_the_reader_sees_decides() -> None:
    """Two scored texts with one prompt text are duplicates; one scored text with two prompt texts aren't."""
    _, same = filter_duplicates(
        judge(Candidate("part 1", prompt_text="whole"), Candidate("part 2", prompt_text="whole"))
    )
    _, different = filter_duplicates(judge(Candidate("part", prompt_text="one"), Candidate("part", prompt_text="two")))
    assert reasons(same) == {"part 2": "duplicate"}
    assert different == []


def test_a_duplicate_of_a_duplicate_names_the_one_that_stays() -> None:
    """Every copy points at the kept candidate, not at another copy."""
    candidates = [Candidate("fox", id=name) for name in ("kept", "copy", "copy of the copy")]
    _, dropped = filter_duplicates(judge(*candidates))
    assert [item.because_of for item in dropped] == [candidates[0], candidates[0]]
