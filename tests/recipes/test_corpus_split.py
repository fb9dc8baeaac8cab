"""The corpus's division into training and validation."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.corpus import split as module
from recipes.corpus.asking import admitted
from recipes.corpus.records import Query, normalised
from recipes.corpus.split import split


@st.composite
def query_lists(draw: st.DrawFn) -> list[Query]:
    """Draw queries of people and of the recipe over few passages, so that many share one."""
    rows = draw(
        st.lists(
            st.tuples(
                st.text("abc? ", min_size=1, max_size=5),
                st.sampled_from(("scifact", "xquad", "nfcorpus", "git-doc")),
                st.lists(st.integers(0, 12), max_size=3, unique=True),
                st.booleans(),
            ),
            max_size=60,
        )
    )
    made = [
        Query(text, source, tuple(answers), judged=judged and bool(answers)) for text, source, answers, judged in rows
    ]
    return admitted(made, ())


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    """Hold so few out that something is left to train on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "JUDGED", {"scifact": 3, "xquad": 2})
        patch.setattr(module, "MADE", 4)
        yield


@given(queries=query_lists(), seed=st.integers(0, 20))
def test_no_query_and_no_answer_is_on_both_sides(queries: list[Query], seed: int) -> None:
    """No query stands on both sides, and no passage asked about in validation is asked about in training."""
    train, validation = split(queries, seed)
    assert not set(train) & set(validation)
    assert not {normalised(queries[n].text) for n in train} & {normalised(queries[n].text) for n in validation}
    asked = [{answer for n in side for answer in queries[n].answers} for side in (train, validation)]
    assert not asked[0] & asked[1]


@given(queries=query_lists(), seed=st.integers(0, 20))
def test_only_what_shares_a_passage_is_left_out(queries: list[Query], seed: int) -> None:
    """A query on neither side shares a passage with one that is held out."""
    train, validation = split(queries, seed)
    asked = {answer for n in validation for answer in queries[n].answers}
    for n in set(range(len(queries))) - set(train) - set(validation):
        assert asked & set(queries[n].answers)


def test_split_is_deterministic_for_a_seed() -> None:
    """The same queries and seed divide alike, whatever was drawn before; another seed divides otherwise."""
    queries = [Query(f"query {n}", "git-doc", (n,)) for n in range(50)]
    first = split(queries, 1)
    random.random()
    assert first == split(queries, 1)
    assert first != split(queries, 2)


def test_as_many_are_held_out_as_wanted() -> None:
    """Where no two share a passage, exactly the wanted numbers of each sort are held out."""
    sources = ("scifact", "xquad", "nfcorpus")
    queries = [
        Query(f"{source} {n}", source, (30 * n + k,), judged=True) for n in range(9) for k, source in enumerate(sources)
    ]
    queries += [Query(f"made {n}", "scifact", (1000 + n,)) for n in range(9)]
    train, validation = split(queries, 1)
    held = [(queries[n].source, queries[n].judged) for n in validation]
    assert {sort: held.count(sort) for sort in set(held)} == {
        ("scifact", True): 3,
        ("xquad", True): 2,
        ("scifact", False): 4,
    }
    assert sorted([*train, *validation]) == list(range(len(queries)))


def test_nothing_to_divide() -> None:
    """No queries give two empty sides."""
    assert split([], 1) == ([], [])
