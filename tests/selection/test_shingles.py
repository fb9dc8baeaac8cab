"""The similarity of texts by their shingles, and near-duplicates."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.selection.shingles import Shingles

words = st.lists(st.sampled_from(["the", "red", "fox", "ran", "over", "a", "hill", "and", "sat"]), max_size=30)


def similarity(one: str, other: str) -> float:
    """Return the similarity of two texts."""
    return float(Shingles([one, other]).similarities(0)[1])


def triples(text: list[str]) -> set[tuple[str, ...]]:
    """Return the shingles of words, written down as the definition says."""
    return {tuple(text[start : start + 3]) for start in range(max(1, len(text) - 2))}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a b c d e", "a b c d e", 1.0),
        ("a b c d e", "a b c d x", 2 / 4),  # abc and bcd of abc, bcd, cde, cdx
        ("a b c d e", "v w x y z", 0.0),
        ("Red fox!", "red   FOX", 1.0),
        ("red fox", "red fox ran", 0.0),
        ("...", "...", 1.0),
        ("...", "!!!", 0.0),
        ("", "", 1.0),
    ],
)
def test_similarities_by_hand(one: str, other: str, expected: float) -> None:
    """The Jaccard index of the sets of three words; case, punctuation and blanks make no difference."""
    assert similarity(one, other) == pytest.approx(expected)


def test_texts_without_blanks_are_compared_by_characters() -> None:
    """A Chinese sentence with one character changed is similar, and not a single long word."""
    assert similarity("跳蚤可以活两到三个月的时间", "跳蚤可以活两到四个月的时间") == pytest.approx(8 / 14)


@given(texts=st.lists(words, min_size=1, max_size=8))
def test_similarities_are_exact(texts: list[list[str]]) -> None:
    """For any texts, each similarity is what comparing the two sets gives."""
    shingles = Shingles([" ".join(text) for text in texts])
    for position, one in enumerate(texts):
        expected = [len(triples(one) & triples(two)) / len(triples(one) | triples(two)) for two in texts]
        assert shingles.similarities(position).tolist() == pytest.approx(expected)


@given(texts=st.lists(st.text(st.characters(exclude_categories=()), max_size=20), min_size=1, max_size=5))
def test_any_text_equals_itself(texts: list[str]) -> None:
    """Whatever the characters, a text has the similarity 1 with itself, and all others have 0 to 1."""
    shingles = Shingles(texts)
    for position in range(len(texts)):
        assert shingles.similarities(position)[position] == 1
        assert all(0 <= value <= 1 for value in shingles.similarities(position))


def test_another_number_is_no_near_duplicate() -> None:
    """Of two records that differ in a number alone, neither stands for the other; one without a number is stood for."""
    filler = " ".join(string.ascii_lowercase)
    texts = [f"revenue of 2023: {filler}", f"revenue of 2024: {filler}", f"revenue of: {filler}"]
    shingles = Shingles(texts)
    assert [position for position, _ in shingles.duplicates(0, 0.7)] == [0, 2]
    assert [position for position, _ in shingles.duplicates(2, 0.7)] == [2]


@pytest.mark.parametrize("turned", ["is not approved", "isn't approved", "never is approved"])
def test_a_negation_is_no_near_duplicate(turned: str) -> None:
    """Texts that differ by a negation contradict each other, whichever of them is the better one."""
    text = "the request of the customer for a refund of the full price within fourteen days is approved by the team"
    shingles = Shingles([text, text.replace("is approved", turned)])
    assert [[other for other, _ in shingles.duplicates(at, 0.5)] for at in (0, 1)] == [[0], [1]]
