"""Sentence boundaries, and lone surrogates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_text, sentences

from secondpass.text import sentence_ends, well_formed


@given(text=any_text)
def test_well_formed_text_can_be_encoded(text: str) -> None:
    """A well-formed text can be encoded, has the same length, and differs only in its surrogates."""
    formed = well_formed(text)
    formed.encode()
    assert len(formed) == len(text)
    assert all(new == ("?" if "\ud800" <= old <= "\udfff" else old) for old, new in zip(text, formed, strict=True))


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    """Half an emoji is replaced, a whole one stays."""
    assert well_formed("half \ud83d whole 🦊") == "half ? whole 🦊"


def test_text_without_surrogates_is_returned_as_it_is() -> None:
    """A text without lone surrogates is returned as the same object."""
    text = "naïve 🦊 \x00"
    assert well_formed(text) is text


@given(text=st.one_of(sentences, any_text))
def test_sentences_partition_the_text(text: str) -> None:
    """The ends rise and the last is the end of the text, so that the pieces add up to the text."""
    ends = sentence_ends(text)
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == len(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("One fox. Two dogs.", ["One fox. ", "Two dogs."]),
        ("Dr. Fox is 3.5 years old. True!", ["Dr. Fox is 3.5 years old. ", "True!"]),
        ("no end at all", ["no end at all"]),
        ("Half \ud83d. Two.", ["Half \ud83d. ", "Two."]),
        ("狐狸很快。狗很懒。", ["狐狸很快。", "狗很懒。"]),
    ],
    ids=["empty", "two", "abbreviation and decimal point", "no full stop", "lone surrogate", "Chinese"],
)
def test_sentences_by_hand(text: str, pieces: list[str]) -> None:
    """A sentence ends after its punctuation and the blanks that follow, not after an abbreviation."""
    ends = sentence_ends(text)
    assert [text[start:end] for start, end in zip([0, *ends], ends, strict=False)] == pieces


PROSE = "Dr. Fox ran 3.5 km.  It rained! \n\nWas it far? Yes, said the dog.\nThe end.\n\n"


@pytest.mark.parametrize("text", [PROSE * 500, "狐狸很快。狗很懒。" * 2_000], ids=["English", "Chinese"])
def test_long_texts_are_cut_where_short_ones_are(text: str) -> None:
    """In a text of many thousand characters, the sentences are those of its repeated part."""
    part = text[: len(text) // (500 if text.startswith("Dr.") else 2_000)]
    expected = [start + end for start in range(0, len(text), len(part)) for end in sentence_ends(part)]
    assert sentence_ends(text) == expected


def test_a_very_long_sentence_is_one_piece() -> None:
    """A text without punctuation is one sentence, however long it is."""
    assert sentence_ends("word " * 5_000) == [25_000]
    assert sentence_ends("word " * 5_000 + "stop. Next one.") == [25_006, 25_015]
