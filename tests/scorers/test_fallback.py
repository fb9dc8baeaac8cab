"""Fallback: which scorer answers, and when one that keeps failing is left out."""

import math
from collections.abc import Sequence

import pytest
from worlds import Failing, Scripted, named

from secondpass import Call, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.ranking import Cause
from secondpass.records import Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scorers.fallback import Circuit, Fallback

PAIRS = [Pair("query", "a"), Pair("query", "b")]
BROKEN = Failing(ScoringError("broken"))


class Sometimes(Scripted):
    """Fails while ``broken`` is set, and counts how often it is asked."""

    broken = True
    calls = 0

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.calls += 1
        if self.broken:
            raise ConnectionError("refused")
        return super().score_pairs(pairs, call=call)


def test_the_first_scorer_answers_while_it_can() -> None:
    """The others aren't asked."""
    other = Scripted({})
    scored = Fallback(Scripted({"a": 2.0}), other).score_pairs(PAIRS)
    assert scored.outcomes == (Score(2.0), Score(0.0))
    assert other.asked == []


def test_the_next_one_answers_for_one_that_fails() -> None:
    """All scores are the next one's, and the report says who answered and why."""
    scored = Fallback(BROKEN, OverlapScorer()).score_pairs([Pair("a fox", "a fox")])
    assert scored.by.name == "overlap"
    facts = scored.stages[-1].facts
    assert facts == {"answered_by": "overlap", "failed": {"scripted": "ScoringError: broken"}}


def test_where_all_fail_the_first_stages_order_comes_back() -> None:
    """The error names each scorer, and a reranker returns the candidates as they came, marked."""
    with pytest.raises(ScoringError, match=r"no scorer of 2 answered: .*broken"):
        Fallback(BROKEN, BROKEN).score_pairs(PAIRS)
    ranking = Reranker(Fallback(BROKEN, BROKEN)).rerank("query", ["b", "a"])
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.SCORER_FAILED
    assert [kept.text for kept in ranking] == ["b", "a"]


def test_a_scorer_that_keeps_failing_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """After three failures it isn't asked any more; the first and the last of them are logged, not all of them."""
    broken = Sometimes({})
    fallback = Fallback(broken, OverlapScorer(), retry_seconds=3600)
    for _ in range(10):
        fallback.score_pairs(PAIRS)
    assert broken.calls == 3
    assert fallback.failures == {"1: scripted": 3, "2: overlap": 0}
    assert len(caplog.records) == 2


def test_after_a_while_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """One call tries it; when it answers, it is the first again."""
    scorer = Sometimes({"a": 5.0})
    fallback = Fallback(scorer, OverlapScorer(), max_failures=1, retry_seconds=0)
    fallback.score_pairs(PAIRS)
    scorer.broken = False
    assert fallback.score_pairs(PAIRS).by.name == "scripted"
    assert "answers again" in caplog.text


def test_a_trial_that_fails_opens_the_circuit_again() -> None:
    """While it is open, a single caller is let through."""
    circuit = Circuit(max_failures=1, retry_seconds=3600)
    assert circuit.failed()
    assert not circuit.allows()
    circuit._open_until = 0.0
    assert [circuit.allows(), circuit.allows()] == [True, False]


def test_a_scorer_that_reaches_nothing_within_the_deadline_has_failed() -> None:
    """A deadline leaves no time for another scorer, but the next calls go to it."""
    hanging = Scripted({"a": Unscored(UnscoredReason.DEADLINE), "b": Unscored(UnscoredReason.DEADLINE)})
    fallback = Fallback(hanging, OverlapScorer(), max_failures=1, retry_seconds=3600)
    assert fallback.score_pairs(PAIRS).by.name == "scripted"
    assert fallback.score_pairs(PAIRS).by.name == "overlap"


def test_a_deadline_that_has_passed_is_no_failure_of_the_scorer() -> None:
    """A caller without time says nothing about the scorer."""
    hanging = Scripted({"a": Unscored(UnscoredReason.DEADLINE), "b": Unscored(UnscoredReason.DEADLINE)})
    fallback = Fallback(hanging, OverlapScorer(), max_failures=1, retry_seconds=3600)
    fallback.score_pairs(PAIRS, call=Call(deadline_ms=0))
    assert fallback.failures == {"1: scripted": 0, "2: overlap": 0}


class Changing(Scripted):
    """Gives every pair the same outcome, which a test changes, or fails.

    :param outcome: The outcome; None fails.
    """

    def __init__(self, outcome: Score | Unscored | None = None) -> None:
        super().__init__({})
        self.outcome = outcome

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.asked += pairs
        if self.outcome is None:
            raise ScoringError("broken")
        return Scored((self.outcome,) * len(pairs), self.spec)


def ended_call() -> Call:
    """Return a call that is cancelled."""
    call = Call()
    call.cancel()
    return call


@pytest.mark.parametrize(
    ("pairs", "call", "outcome"),
    [
        ([], None, Score(1.0)),
        (PAIRS, ended_call(), Unscored(UnscoredReason.CANCELLED)),
        (PAIRS, Call(0), Unscored(UnscoredReason.DEADLINE)),
        (PAIRS, Call(0), None),
        (PAIRS, None, Unscored(UnscoredReason.CANCELLED)),
        (PAIRS, None, Unscored(UnscoredReason.LOADING)),
    ],
    ids=["empty", "cancelled before", "expired before", "failing when expired", "cancelled within", "still loading"],
)
def test_a_call_that_says_nothing_about_a_scorer_counts_as_nothing(
    pairs: list[Pair], call: Call | None, outcome: Score | Unscored | None
) -> None:
    """After two failures such a call is neither the success that closes the circuit nor the failure that opens it."""
    scorer = Changing()
    fallback = Fallback(scorer, OverlapScorer(), retry_seconds=3600)
    for _ in range(2):
        fallback.score_pairs(PAIRS)
    scorer.outcome = outcome
    fallback.score_pairs(pairs, call=call)
    assert (fallback.circuits[0].failures, fallback.failures["1: scripted"]) == (2, 2)


def test_a_call_that_is_over_doesnt_make_the_trial() -> None:
    """The circuit's single trial is left to a call that has time."""
    scorer = Changing()
    fallback = Fallback(scorer, OverlapScorer(), max_failures=1, retry_seconds=3600)
    fallback.score_pairs(PAIRS)
    fallback.circuits[0]._open_until = 0.0
    fallback.score_pairs(PAIRS, call=ended_call())
    scorer.outcome = Score(1.0)
    assert fallback.score_pairs(PAIRS).by.name == "scripted"


def test_impatient_callers_dont_take_a_working_scorer_from_all() -> None:
    """A deadline shorter than what the scorer's last success took is no failure; one that is as long is."""
    preferred = Scripted({"a": 1.0, "b": 2.0})
    fallback = Fallback(preferred, OverlapScorer(), max_failures=1, retry_seconds=3600)
    fallback.score_pairs(PAIRS)
    late = Unscored(UnscoredReason.DEADLINE)
    preferred.script = {"a": late, "b": late}
    fallback.circuits[0].success_seconds = 3600.0
    fallback.score_pairs(PAIRS)
    assert fallback.failures == {"1: scripted": 0, "2: overlap": 0}
    fallback.circuits[0].success_seconds = 0.0
    fallback.score_pairs(PAIRS)
    assert fallback.failures == {"1: scripted": 1, "2: overlap": 0}


def test_the_second_scorer_isnt_charged_for_a_deadline_that_the_first_used_up() -> None:
    """Of a call whose time ends while the first scorer fails, the second one's lack of a score is no failure."""
    call = Call()

    class UsesUp(Scripted):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            assert call is not None
            call.deadline = 0.0
            raise ConnectionError("refused")

    fallback = Fallback(UsesUp({}), OverlapScorer())
    assert {getattr(item, "reason", None) for item in fallback.score_pairs(PAIRS, call=call).outcomes} == {"deadline"}
    assert fallback.failures == {"1: scripted": 1, "2: overlap": 0}


@pytest.mark.parametrize(
    "outcome", [Unscored(UnscoredReason.INVALID), Score(math.nan), Unscored(UnscoredReason.FAILED)]
)
def test_a_scorer_that_gives_no_finite_score_has_failed(outcome: Score | Unscored) -> None:
    """The next one answers, and where that gives none either, the outcomes say so as they do without a fallback."""
    fallback = Fallback(Changing(outcome), OverlapScorer())
    scored = fallback.score_pairs(PAIRS)
    assert (scored.by.name, scored.stages[-1].facts["failed"]) == ("overlap", {"scripted": "no finite score"})
    assert fallback.failures == {"1: scripted": 1, "2: overlap": 0}
    none = Fallback(Changing(outcome), Changing(outcome))
    assert not any(isinstance(item, Score) for item in none.score_pairs(PAIRS).outcomes)
    assert Reranker(none).rerank("fox", ["a", "b"]).degraded


def test_too_few_outcomes_are_a_failure() -> None:
    """The next scorer answers for one that returns fewer outcomes than it was given pairs."""

    class Short(Scripted):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            return Scored((Score(1.0),), self.spec)

    assert Fallback(Short({}), OverlapScorer()).score_pairs(PAIRS).by.name == "overlap"


def test_a_bug_is_no_failure() -> None:
    """Other exceptions than failures of scoring pass through."""
    with pytest.raises(KeyError):
        Fallback(Failing(KeyError("a bug")), OverlapScorer()).score_pairs(PAIRS)


class Unknown(Scripted):
    """A scorer on an unknown scale."""

    @property
    def spec(self) -> Spec:
        return Spec("unknown", Scale(ScaleKind.UNKNOWN), "unknown")


@pytest.mark.parametrize(
    ("scorers", "settings", "message"),
    [
        ([OverlapScorer()], {}, "at least two scorers"),
        ([OverlapScorer(), "small"], {}, "at least two scorers"),
        ([OverlapScorer(), Unknown({})], {}, "a scale with probabilities or none"),
        ([OverlapScorer(), BROKEN], {"max_failures": 0}, "max_failures must be 1 or more"),
        ([OverlapScorer(), BROKEN], {"retry_seconds": -1}, "retry_seconds 0 or more"),
    ],
    ids=named,
)
def test_wrong_settings_are_refused(scorers: list[OverlapScorer], settings: dict[str, int], message: str) -> None:
    """Each is a configuration error with what must hold."""
    with pytest.raises(ConfigurationError, match=message):
        Fallback(*scorers, **settings)
