"""The corpus's pool: every passage once."""

from corpus_worlds import TOPICS, paragraph, prose
from hypothesis import given
from hypothesis import strategies as st

from recipes.corpus.pool import unique
from recipes.corpus.records import Passage

TEXT = paragraph("heron")


def texts(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def test_passages_that_differ_all_stay_in_order() -> None:
    """A pool without copies is left as it is."""
    pool = prose(50)
    assert unique(pool, ()) == pool


def test_copies_and_near_copies_go() -> None:
    """Of two passages that are the same, or differ in case, punctuation or some words, the earlier stays."""
    near = [
        TEXT,
        TEXT.upper(),
        TEXT.replace(".", " !"),
        TEXT.replace("great age", "great, great age"),
        f"{TEXT} Go there.",
    ]
    assert texts(unique([Passage("s", text) for text in near], ())) == [TEXT]


def test_a_passage_that_qrels_name_stays_before_others() -> None:
    """Of two near copies the one with a key stays; two with keys both stay, unless they are the very same text."""
    other = TEXT.replace("great age", "great, great age")
    pool = [
        Passage("s", f"{TEXT} Go."),
        Passage("s", TEXT, key="1"),
        Passage("s", other, key="2"),
        Passage("s", TEXT, key="3"),
    ]
    assert [passage.key for passage in unique(pool, ())] == ["1", "2"]


def test_texts_of_judges_never_come_in() -> None:
    """A judge's text, a part of it, or one wrapped around it is kept out, named by qrels or not."""
    half = TEXT.split(". ")
    forms = [TEXT, TEXT.lower(), f"Hello. {TEXT}", ". ".join(half[2:]), f"{half[0]}. {half[1]}."]
    pool = [Passage("s", form, key=key) for form in forms for key in ("", form)]
    assert unique([*pool, Passage("s", paragraph("goose"))], [TEXT]) == [Passage("s", paragraph("goose"))]


@given(st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 3), st.booleans()), max_size=20))
def test_pool_holds_each_text_once_and_stays_as_it_is(drawn: list[tuple[str, int, bool]]) -> None:
    """Whatever comes in, each text is there once, named ones first; what came through once comes through again."""
    passages = [Passage("s", paragraph(topic, n), key=f"{topic}{n}" if named else "") for topic, n, named in drawn]
    pool = unique(passages, ())
    assert sorted(texts(pool)) == sorted(set(texts(passages)))
    assert [bool(passage.key) for passage in pool] == sorted((bool(passage.key) for passage in pool), reverse=True)
    assert unique(pool, ()) == pool
