"""The collection: what fits together, what is refused, and what can be cut off."""

from dataclasses import replace
from typing import Any

import pytest
from evaluation_worlds import QRELS, QUERIES, RUN, candidates, orders, world

from secondpass import Candidate
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation import Collection


def test_only_queries_that_can_be_evaluated_stay() -> None:
    """A query without a judgement and without an answer is left out; one with an answer alone stays."""
    collection = world(queries={**QUERIES, "q8": "asked", "q9": "unjudged"}, answers={"q8": ["yes"]})
    assert list(collection.queries) == ["q1", "q2", "q3", "q8"]
    assert collection.answers == {"q8": ("yes",)}
    assert collection.run["q8"] == ()


def test_judged_queries_without_a_text_are_told() -> None:
    """Judgements of queries that aren't there are no error, but the notes count them."""
    collection = world(qrels={**QRELS, "q7": {"fox": 1}})
    assert collection.notes == ("1 of 4 judged queries have no text and are left out",)


def test_ids_that_never_meet_are_told_once() -> None:
    """Where no relevant text was found for any query, the notes say what may be wrong, also of a part of the run."""
    collection = world(qrels={"q1": {"another-store's-id": 1}, "q2": {"bee": 0}})
    told = ("the first stage found no relevant text for any query: check that both use the same ids",)
    assert collection.notes == told
    assert collection.cut(10).notes == (*told, "at most 10 candidates a query")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answers": {"q1": "yes"}}, "the answers of animals must be a list of strings for each query, and query 'q1'"),
        ({"qrels": {"other": {"fox": 1}}}, "at least one query of animals must have a judgement"),
        ({"qrels": {"q1": {}}}, "at least one query of animals must have a judgement"),
        ({"queries": {}, "run": {}}, "at least one query"),
        ({"run": {**RUN, "q8": ["fox"]}}, "the run of animals must name a query that is there: 1 ids are unknown"),
        ({"run": {"q1": ["fox", "dog", "fox"]}}, "must name each text once, and 'fox' comes twice"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    """What can't be evaluated raises, saying what came and what was there."""
    with pytest.raises(InputError, match=said):
        world(**changes)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Candidate("text", id="zebra"), "1 of 1 ids are not in it, such as 'zebra'"),
        (Candidate("text"), "such as None"),
    ],
)
def test_candidates_must_be_texts_of_the_corpus(found: Candidate, said: str) -> None:
    """A candidate with an unknown id, or with none, is refused."""
    with pytest.raises(InputError, match=said):
        replace(world(), run={"q1": (found,)})


def test_candidates_must_be_best_first() -> None:
    """Ranks that contradict the order are refused, since the order is what is measured."""
    first, second = candidates(["fox", "dog"])
    with pytest.raises(InputError, match="must be best first"):
        Collection("w", QUERIES, world().corpus, QRELS, {"q1": (replace(first, rank=2), replace(second, rank=1))})


def test_first_and_cut_keep_the_head_and_say_so() -> None:
    """``first`` keeps queries and ``cut`` keeps candidates; both leave a note."""
    small = world(answers={"q1": ["x"]}).first(2).cut(2)
    assert orders(small) == {"q1": ["dog", "moon"], "q2": ["whale", "dog"]}
    assert small.qrels.keys() == {"q1", "q2"}
    assert small.answers == {"q1": ("x",)}
    assert small.notes == ("the first 2 of 3 queries", "at most 2 candidates a query")
    assert world().first(10).notes == ()


def test_nothing_is_not_a_size() -> None:
    """Neither no query nor no candidate can be asked for."""
    with pytest.raises(ConfigurationError, match="at least 1 query"):
        world().first(0)
    with pytest.raises(ConfigurationError, match="at least 1 candidate"):
        world().cut(0)
