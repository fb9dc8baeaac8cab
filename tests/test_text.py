"""Boundaries and well-formedness of text."""

import pytest
import strategies
from hypothesis import example, given, settings

from secondpass.text import sentence_ends, well_formed


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\ud800", "?"), ("a\udfffb", "a?b"), ("\udc00\ud800 \U0001f600", "?? \U0001f600")],
)
def test_lone_surrogates_become_question_marks(text: str, expected: str) -> None:
    """Each lone surrogate is replaced by one mark, and real characters beyond the first plane stay."""
    assert well_formed(text) == expected


def test_a_well_formed_text_is_returned_as_it_is() -> None:
    """A text without lone surrogates isn't copied or changed, NUL included."""
    text = "naïve \x00 \U0001f600 text"
    assert well_formed(text) is text


@settings(max_examples=100, deadline=None)
@given(strategies.texts())
def test_well_formed_text_can_be_encoded_and_keeps_its_length(text: str) -> None:
    """Whatever comes, the result encodes as UTF-8, and positions in it are positions in the original."""
    repaired = well_formed(text)
    assert repaired.encode().decode() == repaired
    assert len(repaired) == len(text)


def test_sentences_end_where_a_reader_would_say() -> None:
    """Blanks after a sentence belong to it, and an abbreviation's dot ends nothing."""
    text = "Dr. Smith came. He left! Why?"
    ends = sentence_ends(text)
    assert [text[a:b].strip() for a, b in zip([0, *ends], ends, strict=False)] == [
        "Dr. Smith came.",
        "He left!",
        "Why?",
    ]


def test_a_text_with_surrogates_is_cut_at_the_same_places() -> None:
    """A lone surrogate doesn't shift the ends of the sentences behind it."""
    assert sentence_ends("One \ud800 here. Two. Three.") == sentence_ends("One ? here. Two. Three.")


@settings(max_examples=100, deadline=None)
@given(strategies.texts())
@example("A.\r\nB.\x85C.\u2028D.\x0bE.\x0cF.")
@example("  leading. trailing  ")
@example("...!!!???\n\n\n...")
def test_sentence_ends_partition_any_text(text: str) -> None:
    """The ends rise strictly and the last is the text's length, so that the pieces add up to the text."""
    ends = sentence_ends(text)
    assert ends == sorted(set(ends))
    assert not text or (ends[0] > 0 and ends[-1] == len(text))
