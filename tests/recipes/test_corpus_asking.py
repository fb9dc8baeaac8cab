"""The corpus's queries: made from passages, or written by people, and typed as people type."""

import random
import re

import pytest
from corpus_worlds import definition, lexicon, net, prose
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recipes.corpus.asking import admitted, made, written
from recipes.corpus.lexicon import Lexicon, plural, singulars
from recipes.corpus.queries_definition import from_definition
from recipes.corpus.queries_prose import from_abstract, from_prose
from recipes.corpus.records import Kind, Passage, Query, normalised
from recipes.corpus.web_style import typed

POOL = [
    *prose(60),
    definition(),
    definition("Timbuktu", field="location", siblings=()),
    definition("swim", gloss="to move through water", field="", siblings=()),
    definition("word", gloss="", siblings=()),
    Passage("scifact", prose(9)[8].text, Kind.ABSTRACT, title="Effects of salt on grey herons: a trial", key="7"),
]
LEXICON = lexicon(POOL)


def test_queries_are_deterministic_for_a_seed() -> None:
    """The same pool and seed give the same queries; another seed gives others."""
    first = made(POOL, LEXICON, 1000, 1)
    assert first == made(POOL, LEXICON, 1000, 1)
    assert first != made(POOL, LEXICON, 1000, 2)


@pytest.mark.parametrize("seed", range(5))
def test_queries_are_short_and_never_empty(seed: int) -> None:
    """A query has at least a word and at most twenty, on one line, with no blank left at its ends."""
    queries = made(POOL, LEXICON, 1000, seed)
    assert len(queries) > 0.9 * len(POOL)
    for query in queries:
        assert normalised(query.text)
        assert 1 <= len(query.text.split()) <= 20
        assert query.text == " ".join(query.text.split())
        assert "{" not in query.text


def test_queries_know_the_passage_they_were_made_from() -> None:
    """A made query names its passage and source, and counts as nobody's judgement; good sources are asked twice."""
    queries = made(POOL, LEXICON, 1000, 1)
    assert all(query.source == POOL[query.answers[0]].source and not query.judged for query in queries)
    asked = [query.answers for query in queries if query.source == "xquad"]
    assert max(map(asked.count, asked)) == 2
    others = [query.answers for query in queries if query.source != "xquad"]
    assert max(map(others.count, others)) == 1


def test_no_more_queries_than_wanted() -> None:
    """The number of queries is a bound, and fewer are the first of more."""
    assert made(POOL, LEXICON, 7, 1) == made(POOL, LEXICON, 1000, 1)[:7]


def test_one_passages_query_leaves_those_of_others_alone() -> None:
    """A passage is asked the same thing whatever else is in the pool."""
    alone = made(POOL[:1], LEXICON, 10, 1)
    among = [query for query in made(POOL, LEXICON, 1000, 1) if query.answers == (0,)]
    assert alone == among


@pytest.mark.parametrize("seed", range(20))
def test_every_maker_gives_a_query_about_its_passage(seed: int) -> None:
    """A query out of an abstract or a definition has words in it; what prose gives, if anything, shares its words."""
    rng = random.Random(seed)
    assert normalised(from_definition(definition(), LEXICON, rng))
    assert normalised(from_abstract(POOL[-1], LEXICON, rng))
    for passage in POOL[:10]:
        query = normalised(from_prose(passage, LEXICON, rng))
        assert not query or set(query.split()) & set(normalised(f"{passage.text} {passage.title}").split())


def test_queries_are_typed_as_people_type() -> None:
    """Nearly all are in lower case and without a question mark, and none has quotes or a full stop."""
    rng = random.Random(1)
    texts = [typed('What is the "Grey Heron"?', rng) for _ in range(1000)]
    assert sum(text == text.lower() for text in texts) > 850
    assert 0 < sum(text.endswith("?") for text in texts) < 150
    assert not any(re.search(r'["“”.]', text) for text in texts)
    assert sum(normalised(text) in ("what is the grey heron", "what is grey heron") for text in texts) > 900


@example("What is a heron ?", 1)
@settings(max_examples=30)
@given(st.text(max_size=40) | st.text("Aatwh? .-", max_size=30), st.integers(0, 50))
def test_any_text_can_be_typed(text: str, seed: int) -> None:
    """Whatever was asked, what is typed stands on one line without blanks at its ends, the same for the same seed."""
    query = typed(text, random.Random(seed))
    assert query == " ".join(query.split())
    assert query == typed(text, random.Random(seed))


def test_written_queries_find_their_answers_in_the_pool() -> None:
    """A data set's query points to its passages by their keys; one whose answers are gone has no judgement."""
    pool = [definition(), Passage("xquad", "A", key="a"), Passage("scifact", "B", key="b")]
    rows = [("xquad", " who ", ("a", "gone")), ("scifact", "what", ("a",)), ("scifact", "why", ("b",))]
    assert written(rows, pool) == [
        Query("who", "xquad", (1,), judged=True),
        Query("what", "scifact"),
        Query("why", "scifact", (2,), judged=True),
    ]


@given(st.lists(st.text("aB? ", max_size=4), max_size=12), st.lists(st.text("aB? ", max_size=4), max_size=3))
def test_no_query_is_admitted_twice_or_against_the_judges(texts: list[str], forbidden: list[str]) -> None:
    """Case, punctuation and spacing make no other query of one; what is left keeps its order, and nothing else goes."""
    kept = [normalised(query.text) for query in admitted((Query(text, "s") for text in texts), forbidden)]
    banned = {"", *map(normalised, forbidden)}
    assert kept == [name for name in dict.fromkeys(map(normalised, texts)) if name not in banned]


def test_words_are_known_in_their_plural_and_as_gerunds() -> None:
    """The lexicon finds the noun of a plural and the verb of an -ing form, and takes no stop word for telling."""
    assert LEXICON.noun("geese") is False
    assert LEXICON.noun("Herons")
    assert LEXICON.base_verb("swimming") == "swim"
    assert LEXICON.base_verb("thing") == ""
    assert not LEXICON.telling("which")
    assert LEXICON.phrases("The grey heron, in Timbuktu, and a grey goose wing.") == ["grey heron", "grey goose wing"]


@pytest.mark.parametrize(("one", "many"), [("city", "cities"), ("day", "days"), ("fox", "foxes"), ("heron", "herons")])
def test_plurals_lead_back_to_their_singulars(one: str, many: str) -> None:
    """A regular plural is made as in writing, and its singular is among the forms looked up."""
    assert plural(one) == many
    assert one in singulars(many)


def test_rare_words_are_rarer_than_common_ones() -> None:
    """A word's rarity falls with the number of texts that have it."""
    counted = Lexicon(net(), ["a heron swims", "a goose swims"])
    assert counted.rarity("swims") < counted.rarity("heron") < counted.rarity("unheard")
