"""The corpus's groups: a query with its answer, hard candidates and easy ones."""

import numpy as np
import pytest
from corpus_worlds import prose
from hypothesis import given
from hypothesis import strategies as st

from recipes.corpus.groups import groups
from recipes.corpus.mining import by_words
from recipes.corpus.records import Group, Query

POOL = prose(80)
TEXTS = [passage.text for passage in POOL]
QUERIES = [Query(f"query {n}", "anarchism", (n,), judged=n % 2 == 0) for n in range(30)]


def rankings(count: int = len(QUERIES), seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.stack([rng.permutation(len(POOL))[:20] for _ in range(count)]) for _ in range(2)]


def grouped(seed: int = 1, size: int = 16) -> list[Group]:
    return groups("t", range(len(QUERIES)), QUERIES, POOL, rankings(), size=size, seed=seed)


@pytest.mark.parametrize("size", [2, 16, 24])
def test_group_holds_its_answer_among_as_many_texts_as_wanted(size: int) -> None:
    """Each group has the wanted number of texts, no two alike, and the passage that the query was made from."""
    for group, query in zip(grouped(size=size), QUERIES, strict=True):
        assert len(group.texts) == size == len(set(group.texts))
        assert TEXTS[query.answers[0]] in group.texts
        assert (group.query, group.source) == (query.text, query.source)


def test_a_pool_smaller_than_a_group_is_taken_whole() -> None:
    """Where there are fewer passages than wanted, a group has all of them, once each."""
    found = [np.array([[0, 1, 2]]), np.array([[2, 1, 0]])]
    (group,) = groups("t", [0], QUERIES[:1], POOL[:3], found, size=16, seed=1)
    assert sorted(group.texts) == sorted(TEXTS[:3])


def test_labels_mark_the_answers_of_judged_queries_only() -> None:
    """A label stands with each text where a person judged, and is 1 just for the answers; made queries have none."""
    for group, query in zip(grouped(), QUERIES, strict=True):
        answers = [int(text in {TEXTS[place] for place in query.answers}) for text in group.texts]
        assert list(group.labels) == (answers if query.judged else [])
        assert ("labels" in group.as_json()) is query.judged


def test_groups_are_deterministic_and_named_in_order() -> None:
    """The same seed gives the same groups, another one others; ids count the groups of a part."""
    assert grouped(1) == grouped(1)
    assert [group.texts for group in grouped(1)] != [group.texts for group in grouped(2)]
    assert [group.id for group in grouped()][:2] == ["t00000", "t00001"]


def test_group_depends_on_its_own_query_alone() -> None:
    """A query's group is the same whichever others are grouped with it."""
    (alone,) = groups("t", [5], QUERIES, POOL, rankings(), size=16, seed=1)
    assert alone.texts == grouped()[5].texts


@given(answers=st.lists(st.integers(0, len(POOL) - 1), max_size=8, unique=True), seed=st.integers(0, 50))
def test_any_answers_fit_into_a_group(answers: list[int], seed: int) -> None:
    """With no, one or many answers a group has its size, the first answers, and labels that tell all of them."""
    query = Query("which", "scifact", tuple(answers), judged=bool(answers))
    (group,) = groups("v", [0], [query], POOL, rankings(1, seed), size=12, seed=seed)
    assert len(group.texts) == len(set(group.texts)) == 12
    assert {TEXTS[place] for place in answers[:3]} <= set(group.texts)
    if answers:
        assert list(group.labels) == [int(TEXTS.index(text) in answers) for text in group.texts]


def test_most_candidates_are_mined_and_some_are_not() -> None:
    """Three in four texts are the answer or stand in a ranking; the rest is drawn from the whole pool."""
    found = rankings()
    for number, group in enumerate(grouped()):
        near = {number, *found[0][number].tolist(), *found[1][number].tolist()}
        assert sum(TEXTS.index(text) in near for text in group.texts) >= 12


def test_words_find_the_passage_that_has_them() -> None:
    """BM25 ranks a passage first for its own rare words, and gives as many positions as asked for."""
    found = by_words(["heronc and its gold", "castle stones of castleb"], TEXTS, 10)
    assert found.shape == (2, 10)
    assert [TEXTS[place].split()[1] for place in found[:, 0]] == ["heronc", "castleb"]
