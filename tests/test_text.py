"""Sentence boundaries, and lone surrogates."""

import pytest
import sentencex
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_text, sentences
from tokenizers import Regex, pre_tokenizers

from secondpass.scoring.window_cutting import cut_windows
from secondpass.selection.cutting import Cutter
from secondpass.text import joins, mark_ends, sentence_ends, well_formed


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


letters_and_blanks = st.lists(
    st.one_of(
        st.characters(categories=["Zs", "Zl", "Zp", "Cc", "Po", "Pe", "Pf", "Lu", "Lo", "Mn"]),
        st.sampled_from("AbC.?! \x85\xa0\u2028\u202f\u3000"),
    ),
    max_size=12,
).map("".join)


@given(text=letters_and_blanks)
def test_sentences_of_any_blanks_and_letters_add_up(text: str) -> None:
    """Neither a blank beyond ASCII behind a single letter nor any mark costs more than the place of a cut."""
    ends = sentence_ends(f"Vitamin C{text}. More.")
    assert ends == sorted(set(ends))
    assert ends[-1] == len(text) + 16


class PanicException(BaseException):
    """Stands for what a panic in Rust raises."""


def test_where_the_splitter_panics_sentences_end_with_their_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panic of the splitter is contained, and a simple rule finds the ends of that block."""

    def panic(*_: str) -> None:
        raise PanicException

    monkeypatch.setattr(sentencex, "segment", panic)
    assert sentence_ends("One fox. Two dogs! ") == [9, 19]


CLUSTERS = [
    "👨\u200d👩\u200d👧",
    "👍🏽",
    "🇩🇪🇫🇷",
    "กำลังที่น้ำ",
    "नमस्ते क्षत्रिय",
    "e\u0301o\u0308",
    "\r\n",
    "한국어",
    "ᄒ\u1161\u11ab",
]


@given(text=st.lists(st.sampled_from([*CLUSTERS, "a"]), min_size=4, max_size=12).map("".join), limit=st.integers(2, 6))
def test_no_cut_is_inside_of_a_character_that_people_see(text: str, limit: int) -> None:
    """Neither windows nor beginnings of a text end inside of an extended grapheme cluster."""
    clusters = pre_tokenizers.Split(Regex(r"\X"), "isolated").pre_tokenize_str(text)
    edges = {0, *(end for _, (_, end) in clusters)}
    spans, _ = cut_windows(text, limit, 0.0, lambda texts: [-(-len(part) // 4) for part in texts])
    assert {edge for start, end in spans if end - start > 1 for edge in (start, end)} <= edges
    assert Cutter(text, len(text), limit).longest(limit, lambda end: end) in edges


def test_an_ordinal_does_not_end_a_sentence() -> None:
    """A day written as a number and a period, as in German, is followed by its month."""
    text = "Das Gehalt kommt am 25. Dezember. Der 2. Weltkrieg. Ende."
    assert sentence_ends(text) == [34, 52, 57]


def test_data_without_blanks_is_cut_behind_marks() -> None:
    """Minified JSON is cut between its names and values, and a number stays whole."""
    text = '{"name":"Anna","salary":50,234.50}'
    ends = mark_ends(text)
    assert [text[a:b] for a, b in zip([0, *ends], ends, strict=False)][-2:] == ['salary":', "50,234.50}"]
    assert not joins(text, 5)
    assert text[: Cutter(text, len(text), 20).longest(20, lambda end: end)] == '{"name":"Anna","'
