"""Observers that read a call's time and settings."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from worlds import Failing

from secondpass import (
    Call,
    ContextBudget,
    LargestGap,
    OverlapScorer,
    Pair,
    Ranking,
    ReciprocalRank,
    Reranker,
    Scored,
    Selection,
)
from secondpass.errors import ConfigurationError, ScoringError, SecondpassError
from secondpass.observers import CallEvent


class Keeper:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, CallEvent]] = []

    def observe(self, event: CallEvent) -> None:
        self.seen.append((event.result, event))


def test_an_observer_reads_time_and_settings() -> None:
    """The record has the call's own selection, as plain data without defaults, and its duration."""
    keeper = Keeper()
    reranker = Reranker(OverlapScorer(), fusion=ReciprocalRank(), on_error="raise", observers=[keeper])
    selection = Selection(top_n=2, adaptive=LargestGap(), budget=ContextBudget(50))
    ranking = reranker.rerank("red fox", ["a red fox", "a whale"], selection=selection)
    [(seen, call)] = keeper.seen
    assert seen is ranking
    assert call.settings == {
        "top_n": 2,
        "budget": {"max_tokens": 50, "counter": "estimate"},
        "adaptive": "LargestGap(min_gap=0.2)",
        "fusion": repr(ReciprocalRank()),
        "on_error": "raise",
    }
    assert call.seconds >= sum(stage.seconds for stage in ranking.stages)
    assert (call.query, call.scorer) == ("red fox", "overlap")


def test_calls_of_rerank_many_are_observed_one_by_one() -> None:
    """Each query has its own record, also where the scoring of all fails; a slow consumer isn't counted."""
    keeper = Keeper()
    requests = [("a", ["x"]), ("b", ["y"])]
    list(Reranker(OverlapScorer(), observers=[keeper]).rerank_many(requests))
    with pytest.raises(ScoringError):
        list(Reranker(Failing(), on_error="raise", observers=[keeper]).rerank_many(requests))
    assert [call.query for _, call in keeper.seen] == ["a", "b", "a", "b"]
    assert [type(seen) for seen, _ in keeper.seen] == [Ranking, Ranking, ScoringError, ScoringError]


class Wrong(OverlapScorer):
    """Raises what isn't a failure of scoring."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError("0"), MemoryError(), KeyboardInterrupt(), ConfigurationError("x")])
def test_observers_see_whatever_a_scorer_raises(error: BaseException) -> None:
    """A programming error and an interruption are raised as they are, and observed."""
    keeper = Keeper()
    with pytest.raises(type(error)):
        Reranker(Wrong(error), observers=[keeper]).rerank("fox", ["fox"])
    with pytest.raises(type(error)):
        list(Reranker(Wrong(error), observers=[keeper]).rerank_many([("fox", ["fox"])]))
    assert [(seen, call.query) for seen, call in keeper.seen] == [(error, "fox")] * 2


WRONG_CALLS: dict[str, Callable[[Reranker], object]] = {
    "query": lambda reranker: reranker.rerank(5, ["fox"]),  # type: ignore[arg-type]
    "candidates": lambda reranker: reranker.rerank("fox", {"fox"}),
    "selection": lambda reranker: reranker.rerank("fox", ["fox"], selection=3),  # type: ignore[arg-type]
    "call": lambda reranker: reranker.rerank("fox", ["fox"], call=200),  # type: ignore[arg-type]
    "exclude": lambda reranker: reranker.rerank("fox", ["fox"], exclude=5),  # type: ignore[arg-type]
    "counter": lambda reranker: reranker.rerank(
        "fox", ["fox"], selection=Selection(budget=ContextBudget(5, counter=int))
    ),
    "many": lambda reranker: list(reranker.rerank_many([("fox", {"fox"})])),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_observers_see_calls_that_fail_before_and_after_scoring(name: str) -> None:
    """A wrong argument, and a counter that fails while candidates are selected, are calls that raise."""
    keeper = Keeper()
    with pytest.raises((SecondpassError, ValueError)) as raised:
        WRONG_CALLS[name](Reranker(OverlapScorer(), observers=[keeper]))
    assert [seen for seen, _ in keeper.seen] == [raised.value]


class Broken:
    """Fails at everything."""

    def observe(self, event: CallEvent) -> None:
        raise LookupError


def test_an_observer_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its errors are logged; the ranking is returned, and the call's own error is raised."""
    with caplog.at_level(logging.ERROR, "secondpass"):
        assert Reranker(OverlapScorer(), observers=[Broken()]).rerank("fox", ["fox"]).kept
        with pytest.raises(ScoringError):
            Reranker(Failing(), on_error="raise", observers=[Broken()]).rerank("fox", ["fox"])
    assert [record.message for record in caplog.records] == [
        "an observer of the reranker failed; the call ends as it would without"
    ] * 2
