"""Dropping candidates that would tell the reader the same thing twice."""

from worlds import judge, reasons, texts

from secondpass import Candidate
from secondpass.selection.duplicates import split_duplicates


def test_the_best_of_equal_texts_stays() -> None:
    """Of the same text twice the better one stays, and the other names it."""
    first, second = Candidate("fox", id="first"), Candidate("fox", id="second")
    stay, (dropped,) = split_duplicates(judge(first, "dog", second))
    assert [item.candidate for item in stay] == [first, Candidate("dog")]
    assert dropped.candidate is second
    assert dropped.because_of is first


def test_blanks_around_a_text_make_no_difference() -> None:
    """Texts that differ in outer blanks alone are duplicates."""
    _, dropped = split_duplicates(judge("fox", " fox\n"))
    assert reasons(dropped) == {" fox\n": "duplicate"}


def test_case_and_inner_blanks_make_a_difference() -> None:
    """Only the same text is a duplicate; anything else may matter."""
    stay, dropped = split_duplicates(judge("red fox", "Red fox", "red  fox"))
    assert texts(stay) == ["red fox", "Red fox", "red  fox"]
    assert dropped == []


def test_what_the_reader_sees_decides() -> None:
    """Two scored texts with one prompt text are duplicates; one scored text with two prompt texts isn't."""
    _, same = split_duplicates(
        judge(Candidate("part 1", prompt_text="whole"), Candidate("part 2", prompt_text="whole"))
    )
    _, different = split_duplicates(judge(Candidate("part", prompt_text="one"), Candidate("part", prompt_text="two")))
    assert reasons(same) == {"part 2": "duplicate"}
    assert different == []


def test_a_duplicate_of_a_duplicate_names_the_one_that_stays() -> None:
    """Every copy points at the kept candidate, not at another copy."""
    candidates = [Candidate("fox", id=name) for name in ("kept", "copy", "copy of the copy")]
    _, dropped = split_duplicates(judge(*candidates))
    assert [item.because_of for item in dropped] == [candidates[0], candidates[0]]
