"""The corpus's cutting of text into passages, and its sense for what is prose."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.corpus.passages import LONGEST, SHORTEST, cut, is_prose, sentences, tidy

PROSE = (
    "The grey heron is a large bird that lives near lakes and rivers in most of Europe. It stands still in the shallow "
    "water for a long time, and when a fish comes near it strikes with its long bill. In the spring it builds a nest "
    "of sticks at the top of a tree."
)

WORDS = st.sampled_from(
    ("river", "heron", "the", "of", "sees", "one", "small", "fish", "under", "old", "bridge", "falls")
)


@st.composite
def written_sentences(draw: st.DrawFn) -> str:
    """Draw a sentence of some length, now and then one that is far too long."""
    most = draw(st.sampled_from((12, 40, 2 * LONGEST)))
    words = draw(st.lists(WORDS, min_size=1, max_size=most))
    return f"{' '.join(words).capitalize()}{draw(st.sampled_from('.!?'))}"


SECTIONS = st.lists(st.lists(written_sentences(), max_size=8).map(" ".join), max_size=8)


@settings(max_examples=30)
@given(paragraphs=SECTIONS, seed=st.integers(0, 99))
def test_passages_are_whole_sentences_within_the_bounds(paragraphs: list[str], seed: int) -> None:
    """Whatever the paragraphs, a passage ends where a sentence ends, and is no longer than the bound."""
    known = {sentence for paragraph in paragraphs for sentence in sentences(paragraph)}
    for passage in cut(paragraphs, random.Random(seed)):
        assert 0 < len(passage.split()) <= LONGEST
        assert passage[-1] in ".!?"
        assert all(sentence in known for sentence in sentences(passage))


@settings(max_examples=30)
@given(paragraphs=SECTIONS, seed=st.integers(0, 99))
def test_passages_follow_the_text_without_telling_a_sentence_twice(paragraphs: list[str], seed: int) -> None:
    """The passages of a section stand in its order, and together they say no more than it says."""
    told = [word for passage in cut(paragraphs, random.Random(seed)) for word in passage.split()]
    left = iter(" ".join(paragraphs).split())
    assert all(word in left for word in told)


@settings(max_examples=30)
@given(paragraphs=SECTIONS, seed=st.integers(0, 99))
def test_cutting_is_deterministic_for_a_seed(paragraphs: list[str], seed: int) -> None:
    """The same paragraphs and seed give the same passages."""
    assert list(cut(paragraphs, random.Random(seed))) == list(cut(paragraphs, random.Random(seed)))


def test_running_text_gives_passages_of_a_search_engines_length() -> None:
    """Text of ordinary sentences is cut into passages of 30 to 115 words, most of it told."""
    passages = list(cut([PROSE] * 20, random.Random(1)))
    assert all(SHORTEST <= len(passage.split()) <= LONGEST for passage in passages)
    assert sum(len(passage.split()) for passage in passages) > 0.9 * 20 * len(PROSE.split())


def test_what_says_too_little_alone_gives_no_passage() -> None:
    """A rest below the shortest length is left out, and so are captions, fragments and announcements of a list."""
    assert list(cut(["Only a few words are here."], random.Random(1))) == []
    (passage,) = cut(
        ["Table 3 shows herons.", "These are the birds:", "of the river", PROSE, "Other birds"], random.Random(3)
    )
    assert passage in (PROSE, f"{PROSE} Other birds.")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a  b\n c\u00a0d", "a b c d"),
        ("It rains[1] [citation needed] .", "It rains."),
        ("soft\u00adly ( here )", "softly (here)"),
        ("So [Smith, p. 4] it is ,", "So it is,"),
        ("version 3 .5", "version 3 .5"),
    ],
)
def test_tidying_takes_out_marks_and_odd_blanks(text: str, clean: str) -> None:
    """A tidied text stands on one line, with no reference marks and no blank before a comma."""
    assert tidy(text) == clean


@given(st.text(max_size=80))
def test_tidy_text_has_single_blanks_only(text: str) -> None:
    """No text keeps a line break, a double blank or a blank at its ends."""
    clean = tidy(text)
    assert clean == clean.strip()
    assert clean.split() == clean.split(" ") if clean else True


def test_prose_is_told_from_what_is_not() -> None:
    """Sentences of ordinary length pass."""
    assert is_prose(PROSE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Too short to say much.",
        PROSE.removesuffix("."),
        " ".join([PROSE] * 4),
        f"{PROSE} Copyright held by the birds.",
        f"{PROSE} See https://example.org and heron.html for more.",
        "heron = find(x); print(heron); y = [1, 2, 3]; " * 8 + "end.",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32.",
        "Heron Duck Swan Goose Gull Tern Crane Stork Ibis Rail Coot " * 4 + "Owl.",
        PROSE.upper(),
    ],
    ids=["empty", "short", "unfinished", "long", "notice", "links", "code", "numbers", "list", "shouted"],
)
def test_what_is_no_prose_is_refused(text: str) -> None:
    """Fragments, notices, links, code, figures and lists are no passages."""
    assert not is_prose(text)
