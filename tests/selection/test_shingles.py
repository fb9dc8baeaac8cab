"""The similarity of texts by their shingles, and near-duplicates."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.selection.similarity import Shingles

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


def test_the_threshold_is_a_near_duplicate() -> None:
    """A text is a near-duplicate from the similarity on, and not only above it."""
    shingles = Shingles(["the cat sat down there", "the cat sat down here"])
    assert [other for other, _ in shingles.duplicates(0, 2 / 4)] == [0, 1]
    assert [other for other, _ in shingles.duplicates(0, 2 / 4 + 1e-9)] == [0]


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


RECORD = (
    "{} works in the accounting department of the company since the spring, reports to the head of finance, has a room "
    "on the ground floor, and can be reached by telephone in the morning."
)
DOSE = "take {} of it in the morning with a glass of water, and rest for the day, as the doctor said before she left"
PACKAGE = "{}: a tool for the command line that reads commands of the user and runs them, with a history of all names"
PRICE = "it costs {} a month for each user of the service, and is paid in advance by card or by transfer to the bank"
TERM = "Die Frist beträgt {} nach dem Eingang des Antrags bei der Behörde, wenn nichts anderes vereinbart worden ist"


def near(kept: str, other: str, least: float = 0.5) -> bool:
    """Return whether one text is a near-duplicate of a kept one, which it is similar to."""
    shingles = Shingles([kept, other])
    assert shingles.similarities(0)[1] >= least
    return any(position == 1 for position, _ in shingles.duplicates(0, least))


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        (RECORD, "Anna Berger", "Maria Berger"),
        (RECORD, "The young Anna", "The young Maria"),
        (f"name: {{}}\n{RECORD.format('She')}", "anna", "maria"),
        (f"{RECORD.format('She')} {{}} is her name. {{}} is liked.", "Anna", "Maria"),
        (f"Package: {PACKAGE}", "bash", "dash"),
        (PACKAGE, "bash", "dash"),
        (f"part of the {PACKAGE}", "python-apt", "python-yaml"),
        (f"{PACKAGE}. Users of {{}} like it.", "the program atom", "the program emacs"),
        (DOSE, "5 mg", "5 g"),
        (DOSE, "5mg", "5 µg"),
        (DOSE, "the doses (in mg)", "the doses (in g)"),
        (DOSE, "five drops", "six drops"),
        (DOSE, "twenty-five drops", "twenty-six drops"),
        (DOSE, "some for 5 days", "some for 5 weeks"),
        (DOSE, "2 and then 7 drops", "7 and then 2 drops"),
        (DOSE, "1.5 drops", "15 drops"),
        (DOSE, "some pH buffer", "some mRNA buffer"),
        (PRICE, "€5", "$5"),
        (PRICE, "5%", "5"),
        (TERM, "fünf Tage", "sechs Tage"),
        (TERM, "zweiundzwanzig Tage", "dreiundzwanzig Tage"),
        (TERM, "einen Tag", "einen Monat"),
        ("跳蚤{}可以活两到三个月的时间在温暖的毛茸茸的动物身上", "甲", "乙"),
    ],
)
def test_other_content_is_no_near_duplicate(text: str, one: str, other: str) -> None:
    """A name, identifier, number, unit or number word that the other text lacks says something else, either way."""
    texts = text.replace("{}", one), text.replace("{}", other)
    assert not near(*texts)
    assert not near(*reversed(texts))


@pytest.mark.parametrize(
    "edited",
    [
        RECORD.format("Anna").upper(),
        RECORD.format("Anna").replace(", ", " - "),
        RECORD.format("Anna").replace(" the ", " ", 3),
        RECORD.format("Anna").replace("can be reached", "can always be found"),
        RECORD.format("Anna") + " Read more about her on the website.",
        "In short: " + RECORD.format("Anna"),
        RECORD.format("Anna").replace(" ", "\n", 9),
    ],
    ids=["case", "punctuation", "function words", "paraphrase", "boilerplate", "introduction", "lines"],
)
def test_light_edits_are_near_duplicates(edited: str) -> None:
    """Another case, punctuation or line, and function words or a sentence more or less, change nothing."""
    assert near(RECORD.format("Anna"), edited)
    assert near(edited, RECORD.format("Anna"))


def test_other_frames_are_no_near_duplicates() -> None:
    """Texts are near-duplicates only where what stands around them is the same."""
    shingles = Shingles([RECORD] * 3, ["2019", "2022", "2019"])
    assert [position for position, _ in shingles.duplicates(0, 0.7)] == [0, 2]
