"""Filters: candidates below the threshold, without a valid score, or with a text that is already there."""

import math

import pytest
from worlds import judge, reasons, texts

from secondpass import Candidate, ContextBudget, Selection
from secondpass.ranking import Dropped, Kept
from secondpass.records import Unscored, UnscoredReason
from secondpass.selection.filters import Identity, filter_threshold, filter_unranked, identity
from secondpass.selection.select import select

EVEN, THREE_TO_ONE = 0.0, math.log(3)  # log-odds of the probabilities 0.5 and 0.75


def test_candidates_below_the_threshold_are_dropped() -> None:
    """With a threshold of 0.6, a probability of 0.75 stays and one of 0.5 goes, with the figures."""
    passed, (dropped,) = filter_threshold(judge("likely", "even", values=[THREE_TO_ONE, EVEN]), 0.6, safe=())
    assert texts(passed) == ["likely"]
    assert reasons([dropped]) == {"even": "below threshold"}
    assert dropped.detail == "probability 0.5000 < 0.6"


def test_the_threshold_itself_is_enough() -> None:
    """A probability of exactly the threshold stays."""
    assert texts(filter_threshold(judge("even", values=[EVEN]), 0.5, safe=()).passed) == ["even"]


def test_without_a_threshold_everything_stays() -> None:
    """Without a threshold nothing is dropped, however unlikely."""
    assert texts(filter_threshold(judge("hopeless", values=[-50.0]), None, safe=()).passed) == ["hopeless"]


@pytest.mark.parametrize(
    ("min_keep", "kept"), [(0, []), (1, ["best"]), (2, ["best", "second"]), (9, ["best", "second", "third"])]
)
def test_the_best_stay_in_any_case(min_keep: int, kept: list[str]) -> None:
    """``min_keep`` saves the best so many from the threshold."""
    judged = judge("best", "second", "third", values=[-3.0, -4.0, -5.0])
    assert texts(select(judged, Selection(min_probability=0.9, min_keep=min_keep)).kept) == kept


def test_a_candidate_without_a_score_is_not_below_anything() -> None:
    """What a deadline left unscored has no probability to compare, and stays."""
    late = Unscored(UnscoredReason.DEADLINE)
    passed, dropped = filter_threshold(judge("hopeless", "late", values=[-9.0, late]), 0.5, safe=())
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


def without_copies(*given: str | Candidate, template: str = "{text}") -> tuple[tuple[Kept, ...], tuple[Dropped, ...]]:
    """Return what is kept of candidates, best first, and the copies."""
    selected = select(judge(*given), Selection(budget=ContextBudget(999, template=template)))
    return selected.kept, selected.dropped


def test_the_best_of_equal_texts_stays() -> None:
    """Of the same text twice the better one stays, and the other names it."""
    first, second = Candidate("fox", id="first"), Candidate("fox", id="second")
    kept, (dropped,) = without_copies(first, "dog", second)
    assert [item.candidate for item in kept] == [first, Candidate("dog")]
    assert dropped.candidate is second
    assert dropped.because_of is first
    assert dropped.detail == "the same text"


def test_blanks_around_a_text_make_no_difference() -> None:
    """Texts that differ in outer blanks alone are duplicates, wherever they stand in the template."""
    _, dropped = without_copies("fox", " fox\n", template="<{text}>")
    assert reasons(dropped) == {" fox\n": "duplicate"}


def test_case_and_inner_blanks_make_a_difference() -> None:
    """Only the same text is a duplicate; anything else may matter."""
    kept, dropped = without_copies("red fox", "Red fox", "red  fox")
    assert texts(kept) == ["red fox", "Red fox", "red  fox"]
    assert dropped == ()


@pytest.mark.parametrize(
    "other",
    [
        Candidate("2022: waived", prompt_text="waived", metadata={"year": 2019}),
        Candidate("2019: waived", prompt_text="2019: waived", metadata={"year": 2019}),
        Candidate("2019: waived", prompt_text="waived", metadata={"year": 2022}),
        Candidate("2019: waived", prompt_text="waived"),
    ],
    ids=["scored text", "text for the LLM", "field of the template", "no such field"],
)
def test_what_is_read_differently_is_no_copy(other: Candidate) -> None:
    """Two candidates are the same only if the LLM, template included, and the scorer read the same."""
    one = Candidate("2019: waived", id="one", prompt_text="waived", metadata={"year": 2019, "unread": 1})
    again = Candidate("2019: waived", id="two", prompt_text="waived", metadata={"year": 2019, "unread": 2})
    kept, dropped = without_copies(one, other, again, template="[{year}] {text}")
    assert [item.candidate for item in kept] == [one, other]
    assert [item.candidate for item in dropped] == [again]


def test_a_template_that_changes_the_text_is_compared_as_a_whole() -> None:
    """Where the text doesn't stand in the prompt as it is, all that is read is the body."""
    budget = ContextBudget(9, template=lambda _index, text, _candidate: text.upper())
    assert identity(Candidate("fox"), budget) == Identity((), "FOX\nfox")


def test_other_media_are_no_copies() -> None:
    """Two images without a text are two; the same one twice is one."""
    one, two = Candidate("", id="1", media=True), Candidate("", id="2", media=True)
    kept, dropped = without_copies(one, two, one)
    assert [item.candidate for item in kept] == [one, two]
    assert len(dropped) == 1


def test_every_copy_names_a_kept_candidate() -> None:
    """A copy of a copy names the one that is kept; a copy of one that isn't kept has that one's reason."""
    candidates = [Candidate("fox", id=name) for name in ("kept", "copy", "copy of the copy")]
    selected = select(judge(*candidates, "dog", "dog"), Selection(top_n=1))
    assert [item.because_of for item in selected.dropped] == [candidates[0], candidates[0], None, None]
    assert [str(item.reason) for item in selected.dropped] == ["duplicate", "duplicate", "over top-n", "over top-n"]
