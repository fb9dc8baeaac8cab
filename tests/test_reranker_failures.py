"""Failures of scoring, texts and queries that can't be scored, and wrong input."""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from worlds import Failing, Scripted, count_words, named, reasons, texts

from secondpass import Call, Candidate, ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, InputError, ModelError, OutOfMemory, ScoringError
from secondpass.ranking import Cause
from secondpass.records import Pair, Score, Scored, Unscored, UnscoredReason
from secondpass.scoring.cross_encoder import CrossEncoder

INVALID = Unscored(UnscoredReason.INVALID, "the model gave nan")


@pytest.mark.parametrize("error", [ScoringError("broken"), OutOfMemory("too large")], ids=["failure", "out of memory"])
def test_a_failing_scorer_leaves_the_first_stages_order(error: ScoringError) -> None:
    """The first stage's order comes back, marked with the cause, without scores."""
    ranking = Reranker(Failing(error)).rerank("query", ["b", "a"])
    assert [(kept.text, kept.score, kept.probability) for kept in ranking] == [("b", None, None), ("a", None, None)]
    assert ranking.degraded is not None
    assert (ranking.degraded.cause, ranking.degraded.detail, ranking.by) == (Cause.SCORER_FAILED, str(error), None)


class FloatScorer(OverlapScorer):
    """A scorer that returns numbers instead of a ``Scored``."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Any:
        return [0.5] * len(pairs)


@pytest.mark.parametrize("scored", [1, 2], ids=["one of two", "none of two"])
def test_a_failure_that_the_scorer_reports_raises_on_request(scored: int) -> None:
    """With ``on_error="raise"`` a pair that failed is a ``ScoringError``, also where others have scores."""
    failed = Unscored(UnscoredReason.FAILED)
    scorer = Scripted({"a": failed, "b": 1.0 if scored == 1 else failed})
    assert Reranker(scorer).rerank("query", ["a", "b"]).degraded is not None
    with pytest.raises(ScoringError, match=f"scripted failed: {scored} of 2 candidates without a score"):
        Reranker(scorer, on_error="raise").rerank("query", ["a", "b"])


def test_a_scorer_that_returns_numbers_is_a_configuration_error() -> None:
    """The error says what ``score_pairs`` must return."""
    with pytest.raises(ConfigurationError, match=r"must return Scored\(outcomes, spec\) .*got \[0.5, 0.5\]"):
        Reranker(FloatScorer()).rerank("a query", ["one", "two"])


def test_a_degraded_ranking_still_keeps_the_budget() -> None:
    """Without scores the context still keeps the budget, and no threshold is applied."""
    selection = Selection(min_probability=0.9, budget=ContextBudget(2, counter=count_words))
    ranking = Reranker(Failing(), selection=selection).rerank("query", ["fox", "dog", "bee"])
    assert ranking.context == "fox\n\ndog"
    assert reasons(ranking.dropped) == {"bee": "over budget"}


def test_on_error_raise_raises() -> None:
    """With ``on_error="raise"`` the scorer's own exception is raised."""
    error = ScoringError("broken")
    with pytest.raises(ScoringError) as caught:
        Reranker(Failing(error), on_error="raise").rerank("query", ["fox"])
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("a wrong setting"),
        ModelError("a wrong model"),
        AttributeError("a bug"),
        KeyError("a bug"),
        TypeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("deadline_ms", [None, 3_600_000])
def test_configuration_and_programming_errors_always_raise(error: Exception, deadline_ms: float | None) -> None:
    """A configuration error, or a programming error in a scorer, is never turned into the first stage's order."""
    with pytest.raises(type(error)) as caught:
        Reranker(Failing(error), on_error="degrade", deadline_ms=deadline_ms).rerank("query", ["fox"])
    assert caught.value is error


@pytest.mark.parametrize("error", [TimeoutError("slow"), ConnectionError("refused")], ids=repr)
def test_errors_of_the_network_are_failures(error: OSError) -> None:
    """A scorer of one's own may let the network's errors pass: they degrade, or are raised as they are."""
    ranking = Reranker(Failing(error)).rerank("query", ["b", "a"])
    assert ranking.degraded is not None
    assert (texts(ranking), ranking.degraded.cause) == (["b", "a"], Cause.SCORER_FAILED)
    with pytest.raises(type(error)):
        Reranker(Failing(error), on_error="raise").rerank("query", ["fox"])


class Slow(OverlapScorer):
    """A scorer that doesn't look at the call, and lets its deadline pass."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        while call and not call.stop_reason():
            pass
        return super().score_pairs(pairs)


def test_a_missed_deadline_is_in_the_report() -> None:
    """Where a scorer ignored the deadline, the stage says by how many milliseconds it was missed."""
    ranking = Reranker(Slow(), deadline_ms=1).rerank("a fox", ["a fox"])
    assert ranking.degraded is None
    assert "deadline_overrun_ms" in ranking.stages[0].facts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "rrf"}, "fusion must be a Fusion"),
        ({"selection": {"top_n": 3}}, "selection must be a Selection"),
        ({"observers": print}, "observers must be a list"),
        ({"observers": [asyncio.sleep]}, "functions of a Ranking, not async"),
    ],
    ids=named,
)
def test_settings_of_a_wrong_type_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    """Each is a configuration error, before anything is scored."""
    with pytest.raises(ConfigurationError, match=message):
        Reranker(OverlapScorer(), **settings)


@pytest.mark.parametrize("error", [AttributeError("a bug"), KeyError("a bug"), TypeError("a bug")], ids=repr)
def test_programming_errors_in_an_engine_raise(error: Exception) -> None:
    """A programming error in an engine's forward pass raises through the reranker, from the worker's thread."""
    with pytest.raises(type(error)) as caught:
        Reranker(CrossEncoder(FakeEngine(error=error))).rerank("query", ["fox"])
    assert caught.value is error


FAILING = {
    "scorer failed": lambda: Reranker(Failing(ScoringError("secret text in the message"))),
    "deadline": lambda: Reranker(OverlapScorer(), deadline_ms=0),
    "unscored": lambda: Reranker(Scripted({"secret text": Unscored(UnscoredReason.FAILED)})),
    "no finite score": lambda: Reranker(Scripted({"secret text": math.nan, "other": math.inf})),
}


@pytest.mark.parametrize("name", FAILING)
def test_each_degraded_pass_logs_one_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A degraded pass logs one warning with its cause, and neither the query nor a text."""
    ranking = FAILING[name]().rerank("secret query", ["secret text", "other"])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("secondpass", "WARNING")
    assert ranking.degraded is not None
    assert str(ranking.degraded.cause) in record.getMessage()
    assert "secret" not in caplog.text


def test_the_warning_names_the_librarys_exception(caplog: pytest.LogCaptureFixture) -> None:
    """Where a library's exception was the cause, the warning has its type."""
    error = ScoringError("torch failed while scoring")
    error.__cause__ = RuntimeError("cuBLAS")
    Reranker(Failing(error)).rerank("query", ["fox"])
    assert "by scripted is degraded: scorer failed (ScoringError from RuntimeError)" in caplog.text


def test_a_complete_ranking_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Where every candidate was scored, or had no text, nothing is logged."""
    Reranker(Scripted({})).rerank("query", ["fox", ""])
    assert caplog.records == []


@pytest.mark.parametrize("outcomes_", [0, 1, 3])
def test_a_wrong_number_of_outcomes_is_a_failure(outcomes_: int) -> None:
    """A scorer that returns more or fewer outcomes than it was given pairs has failed."""

    class Miscounting(Scripted):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            return Scored((Score(1.0),) * outcomes_, self.spec)

    ranking = Reranker(Miscounting({})).rerank("query", ["b", "a"])
    assert texts(ranking) == ["b", "a"]
    assert str(ranking.degraded) == (f"scorer failed: scripted was given 2 pairs and returned {outcomes_} outcomes")


# NaN, empty texts, empty queries


def test_nan_makes_one_candidate_invalid() -> None:
    """A candidate without a finite score is dropped as invalid, and the others are ranked as usual."""
    ranking = Reranker(Scripted({"odd": INVALID, "fox": 2.0})).rerank("query", ["odd", "fox"])
    assert (texts(ranking), reasons(ranking.dropped)) == (["fox"], {"odd": "invalid"})
    assert ranking.degraded is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=named)
def test_a_score_that_is_not_finite_is_invalid(value: float) -> None:
    """NaN or infinity as the value of a ``Score`` makes that candidate invalid, and never gives it a rank."""
    ranking = Reranker(Scripted({"odd": value, "fox": 2.0, "dog": 1.0})).rerank("query", ["dog", "odd", "fox"])
    assert (texts(ranking), reasons(ranking.dropped)) == (["fox", "dog"], {"odd": "invalid"})


def test_nan_for_every_candidate_is_a_failure() -> None:
    """A scorer without one finite score has failed, and the first stage's order comes back."""
    ranking = Reranker(Scripted({"b": INVALID, "a": INVALID})).rerank("query", ["b", "a"])
    assert texts(ranking) == ["b", "a"]
    assert str(ranking.degraded) == "scorer failed: scripted gave no finite score for any of 2 candidates"


@pytest.mark.parametrize("text", ["", " \n\t"], ids=["empty", "blanks"])
def test_an_empty_text_is_invalid(text: str) -> None:
    """An empty text is dropped as invalid, and the scorer never gets it."""
    scorer = Scripted({})
    ranking = Reranker(scorer).rerank("query", [text, "fox"])
    assert reasons(ranking.dropped) == {text: "invalid"}
    assert (texts(ranking), scorer.asked) == (["fox"], [Pair("query", "fox")])


def test_what_has_nothing_to_score_is_kept_unscored() -> None:
    """A candidate that the LLM reads, or that is an image, follows the scored in first-stage order."""
    empty, image, fox = Candidate("", prompt_text="a table"), Candidate("", id="image", media=True), Candidate("fox")
    ranking = Reranker(Scripted({"fox": -9.0}), on_error="raise").rerank("query", [empty, image, fox])
    assert [item.candidate for item in ranking.kept] == [fox, empty, image]
    assert [item.outcome.reason for item in ranking.kept[1:]] == ["empty", "empty"]  # type: ignore[union-attr]
    assert ranking.degraded is None


def test_only_empty_texts_is_no_failure() -> None:
    """Where all texts are empty, the scorer isn't called and the ranking isn't degraded."""
    ranking = Reranker(Failing()).rerank("query", ["", " "])
    assert (ranking.kept, len(ranking.dropped), ranking.degraded) == ((), 2, None)


@pytest.mark.parametrize("query", ["", " \n"], ids=["empty", "blanks"])
def test_an_empty_query_keeps_the_first_stages_order(query: str) -> None:
    """With an empty query the scorer isn't called, and the ranking is marked with the cause."""
    scorer = Scripted({})
    ranking = Reranker(scorer).rerank(query, ["b", "a"])
    assert (texts(ranking), scorer.asked) == (["b", "a"], [])
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.EMPTY_QUERY


def test_an_empty_query_can_raise() -> None:
    """With ``on_error="raise"`` an empty query is an InputError."""
    with pytest.raises(InputError, match="the query must not be empty"):
        Reranker(Scripted({}), on_error="raise").rerank("", ["fox"])


def test_no_candidates_are_no_failure() -> None:
    """An empty list gives an empty ranking, and the scorer isn't called."""
    ranking = Reranker(Failing()).rerank("query", [])
    assert (ranking.kept, ranking.dropped, ranking.context, ranking.degraded) == ((), (), "", None)


def test_one_candidate_is_scored_too() -> None:
    """A single candidate gets its score, since a threshold may drop it."""
    strict = Selection(min_probability=0.5)
    ranking = Reranker(Scripted({"fox": -3.0}), selection=strict).rerank("query", ["fox"])
    assert reasons(ranking.dropped) == {"fox": "below threshold"}


@pytest.mark.parametrize(
    ("query", "candidates_", "message"),
    [
        (None, ["fox"], "the query must be a string, got NoneType"),
        ("query", "fox", "got str: 'fox'"),
        ("query", ["fox", None], "got NoneType at position 1"),
    ],
    ids=["query", "one string", "candidate"],
)
def test_wrong_input_raises(query: Any, candidates_: Any, message: str) -> None:
    """A query or candidate of the wrong type raises whatever ``on_error`` is."""
    with pytest.raises(InputError, match=message):
        Reranker(Scripted({}), on_error="degrade").rerank(query, candidates_)


def test_numbers_of_other_libraries_become_pythons() -> None:
    """A scorer that returns numpy numbers leaves none in the ranking, which stays JSON."""
    scorer = Scripted({"text": Score(np.float32(0.5))})  # type: ignore[arg-type]
    assert json.loads(json.dumps(Reranker(scorer).rerank("query", ["text"]).to_dict()))["kept"][0]["score"] == 0.5


def test_a_scorers_class_is_refused() -> None:
    """A class in place of a scorer is a configuration error at construction."""
    with pytest.raises(ConfigurationError, match="scorer must be"):
        Reranker(OverlapScorer)  # type: ignore[arg-type]


@pytest.mark.parametrize("deadline_ms", [float("inf"), 1e13])
def test_a_deadline_beyond_all_clocks_is_no_limit(deadline_ms: float) -> None:
    """An infinite or a huge deadline scores everything."""
    assert Reranker(Scripted({}), deadline_ms=deadline_ms).rerank("query", ["text"]).degraded is None
