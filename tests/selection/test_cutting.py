"""Cutting a text that takes too many tokens: at a sentence end, else a line end, else between words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import COUNTERS, readable_text
from worlds import count_words

from secondpass.selection.cutting import MAX_PROBES, Cutter
from secondpass.selection.tokens import as_counter, estimate_tokens


def cut(text: str, allowed: int) -> str:
    """Return the longest beginning of at most so many words."""
    cutter = Cutter(text, count_words(text), allowed)
    return text[: cutter.longest(allowed, lambda end: count_words(text[:end]))]


@pytest.mark.parametrize(
    ("text", "allowed", "beginning"),
    [
        ("One two. Three four.   Five six.", 5, "One two. Three four."),
        ("One two. Three four.   Five six.", 1, "One"),
        ("one two\nthree four\nfive six", 5, "one two\nthree four"),
        ("one two\n\n\n  \nthree four", 3, "one two"),
        ("one two\nthree four", 1, "one"),
        ("One two. And\nthree four", 1, "One"),
        ("  one two three", 2, "  one two"),
        ("one two three", 0, ""),
        ("", 3, ""),
        ("  \n ", 0, ""),
    ],
    ids=[
        "sentences",
        "no sentence fits",
        "lines",
        "blank lines",
        "no line fits",
        "neither fits",
        "words, indented",
        "nothing fits",
        "empty",
        "blank",
    ],
)
def test_cuts_by_hand(text: str, allowed: int, beginning: str) -> None:
    """The best kind of place at which anything fits is taken, and blanks before it are left out."""
    assert cut(text, allowed) == beginning


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("检索增强生成系统会从向量数据库中取出候选片段", "检索增强生成系统会从"),
        (" aGVsbG8gd29ybGQ", " aGVsbG8gd"),
        ("x" * 101 + " and more", "x" * 10),
        ("uncharacteristically long", ""),
    ],
    ids=["Chinese", "encoded data", "a piece longer than any word", "a word"],
)
def test_a_text_without_blanks_is_cut_between_characters(text: str, beginning: str) -> None:
    """Where a text has no words to cut between, ten characters are ten characters; a word is never cut."""
    assert text[: Cutter(text, len(text), 10).longest(10, lambda end: end)] == beginning


@pytest.mark.parametrize("piece", ["One two. ", "one two\n", "one two "], ids=["sentences", "lines", "words"])
def test_the_last_piece_is_not_taken_for_whole(piece: str) -> None:
    """Only the start of a long text is split, and the piece at which splitting stops may go on: it is left out."""
    text = piece * 200 + "x" * 2_000
    beginning = text[: Cutter(text, len(text), 1).longest(3_000, lambda end: end)]
    assert beginning == beginning.rstrip()
    assert text.startswith(beginning + piece[-1])


def test_places_are_found_by_few_counts() -> None:
    """In a text of 50,000 words, the longest beginning of 20,000 takes few counts to find, and all but fills them."""
    text = "word " * 50_000
    probes: list[int] = []

    def count(end: int) -> int:
        probes.append(end)
        return count_words(text[:end])

    end = Cutter(text, 50_000, 20_000).longest(20_000, count)
    assert 19_990 <= count_words(text[:end]) <= 20_000
    assert len(probes) <= MAX_PROBES


@pytest.mark.parametrize("name", COUNTERS)
@given(text=readable_text, allowed=st.integers(0, 40))
def test_a_beginning_fits(name: str, text: str, allowed: int) -> None:
    """Whatever the counter's rule, what is returned was counted, fits, and isn't blank."""
    counter = as_counter(COUNTERS[name] or estimate_tokens)
    end = Cutter(text, counter.count(text), allowed).longest(allowed, lambda end: counter.count(text[:end]))
    assert not end or (counter.count(text[:end]) <= allowed and text[:end] == text[:end].rstrip() != "")


@given(words=st.integers(2, 60), allowed=st.integers(1, 60))
def test_a_beginning_is_the_longest(words: int, allowed: int) -> None:
    """As many words are kept as are allowed, but for the last, with which the text would be whole."""
    assert count_words(cut("word " * words, allowed)) == min(allowed, words - 1)
