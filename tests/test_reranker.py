"""The pipeline: candidates, scores, fusion, selection, ranking, and its invariants."""

import asyncio
import math
from collections import Counter as Multiset
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fake_engine import ExpiresWhenBlocked, FakeEngine, blocked_engine
from hypothesis import given
from hypothesis import strategies as st
from strategies import candidates, finite, fusions, outcomes, selections
from worlds import Failing, Scripted, count_words, reasons, texts

from secondpass import Call, Candidate, ContextBudget, OverlapScorer, Ranking, ReciprocalRank, Reranker, Selection
from secondpass.errors import ConfigurationError, InputError, ModelError, OutOfMemory, ScoringError
from secondpass.fusion import Fusion
from secondpass.models import DEFAULT_MODEL
from secondpass.ranking import Cause
from secondpass.scores import Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.cross_encoder import CrossEncoder

LATE = Unscored(UnscoredReason.DEADLINE)
INVALID = Unscored(UnscoredReason.INVALID, "the model gave nan")
ALL = Selection(duplicates="keep")


class InOrder(Scripted):
    """Returns given outcomes one after the other, independent of the texts; then 0."""

    def __init__(self, outcomes: Sequence[float | Unscored]) -> None:
        super().__init__({})
        self.outcomes = outcomes

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        outcomes = (list(self.outcomes) + [0.0] * len(pairs))[: len(pairs)]
        return Scored(tuple(item if isinstance(item, Unscored) else Score(item) for item in outcomes), self.spec)


def all_candidates(ranking: Ranking) -> list[Candidate]:
    """Return every candidate of a ranking, the kept first."""
    return [item.candidate for item in (*ranking.kept, *ranking.dropped)]


def order(ranking: Ranking) -> list[int]:
    """Return the first-stage ranks of the kept, in the new order."""
    return [kept.rank_before for kept in ranking]


# The order


def test_candidates_come_best_first() -> None:
    """The scorer's order replaces the first stage's, and both ranks are recorded."""
    ranking = Reranker(Scripted({"dog": 1.0, "fox": 3.0, "bee": 2.0})).rerank("query", ["dog", "fox", "bee"])
    assert [(kept.text, kept.rank_before, kept.rank) for kept in ranking] == [
        ("fox", 2, 1),
        ("bee", 3, 2),
        ("dog", 1, 3),
    ]


def test_the_scorer_reads_query_and_text() -> None:
    """Each candidate's ``text`` is paired with the query; the scorer never gets the ``prompt_text``."""
    scorer = Scripted({})
    Reranker(scorer).rerank("query", ["fox", Candidate("dog", prompt_text="a long story")])
    assert scorer.asked == [Pair("query", "fox"), Pair("query", "dog")]


def test_ties_go_to_the_better_first_stage_rank() -> None:
    """Equal scores keep the first stage's order, by its ranks where the candidates have them."""
    given_ranks = [Candidate("third", rank=3), Candidate("first", rank=1), Candidate("second", rank=2)]
    assert texts(Reranker(Scripted({})).rerank("query", ["a", "b", "c"])) == ["a", "b", "c"]
    assert texts(Reranker(Scripted({})).rerank("query", given_ranks)) == ["first", "second", "third"]


def test_the_order_comes_from_raw_values() -> None:
    """Two logits whose probabilities are both 1.0 keep their order."""
    ranking = Reranker(Scripted({"good": 40.0, "better": 50.0})).rerank("query", ["good", "better"])
    assert [(kept.text, kept.probability) for kept in ranking] == [("better", 1.0), ("good", 1.0)]


def test_scores_are_plain_floats() -> None:
    """Score and probability are Python floats: a logit of ln 3 is 3 to 1."""
    (kept,) = Reranker(Scripted({"fox": math.log(3)})).rerank("query", ["fox"])
    assert (type(kept.score), type(kept.probability)) == (float, float)
    assert kept.probability == pytest.approx(0.75)


# Fusion


def test_fusion_orders_but_the_threshold_reads_the_probability() -> None:
    """The first stage's weight puts the dog first, and its own probability of 0.27 still drops it at 0.5."""
    scorer = Scripted({"dog": -1.0, "fox": 1.0})
    fusion = ReciprocalRank(weights={"first_stage": 5.0})
    fused = Reranker(scorer, fusion=fusion).rerank("query", ["dog", "fox"])
    strict = Reranker(scorer, fusion=fusion, selection=Selection(min_probability=0.5)).rerank("query", ["dog", "fox"])
    assert texts(fused) == ["dog", "fox"]
    assert (texts(strict), reasons(strict.dropped)) == (["fox"], {"dog": "below threshold"})


def test_the_fused_value_stands_beside_the_score() -> None:
    """A kept candidate has its raw score and its fused value, and the fusion is a stage of its own."""
    ranking = Reranker(Scripted({"fox": 3.0}), fusion=ReciprocalRank()).rerank("query", ["fox"])
    assert ranking[0].score == 3.0
    assert ranking[0].fused == pytest.approx(2 / 61)
    assert [stage.name for stage in ranking.stages] == ["score", "fuse", "select"]


def test_only_scored_candidates_are_fused() -> None:
    """A candidate that the deadline left out has no fused value and comes after all that have one."""
    ranking = Reranker(Scripted({"late": LATE}), fusion=ReciprocalRank()).rerank("query", ["late", "fox"])
    assert [(kept.text, kept.fused is None) for kept in ranking] == [("fox", False), ("late", True)]


def test_an_unknown_signal_raises_whatever_on_error_says() -> None:
    """Fusing by a signal that no candidate has is a configuration error, not a failure of the scorer."""
    reranker = Reranker(Scripted({}), fusion=ReciprocalRank(weights={"clicks": 1.0}), on_error="degrade")
    with pytest.raises(ConfigurationError, match="'clicks'"):
        reranker.rerank("query", ["fox"])


@pytest.mark.parametrize("outcome", [LATE, INVALID], ids=["deadline", "invalid"])
def test_a_signal_that_only_an_unscored_candidate_has_is_no_error(outcome: Unscored) -> None:
    """Where the one candidate with the signal has no score, the ranking still has every candidate."""
    signalled = Candidate("signalled", signals={"bm25": 3.0})
    reranker = Reranker(Scripted({"signalled": outcome}), fusion=ReciprocalRank(weights={"bm25": 1.0}))
    assert (
        Multiset(map(id, all_candidates(reranker.rerank("query", [signalled, Candidate("fox")]))))[id(signalled)] == 1
    )


# Failures


@pytest.mark.parametrize("error", [ScoringError("broken"), OutOfMemory("too large")], ids=["failure", "out of memory"])
def test_a_failing_scorer_leaves_the_first_stages_order(error: ScoringError) -> None:
    """The first stage's order comes back, marked with the cause, without scores."""
    ranking = Reranker(Failing(error)).rerank("query", ["b", "a"])
    assert [(kept.text, kept.score, kept.probability) for kept in ranking] == [("b", None, None), ("a", None, None)]
    assert ranking.degraded is not None
    assert (ranking.degraded.cause, ranking.degraded.detail, ranking.by) == (Cause.SCORER_FAILED, str(error), None)


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
        TimeoutError("a timeout of the scorer's own"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("deadline_ms", [None, 3_600_000])
def test_configuration_and_programming_errors_always_raise(error: Exception, deadline_ms: float | None) -> None:
    """A configuration error, or a programming error in a scorer, is never turned into the first stage's order."""
    with pytest.raises(type(error)) as caught:
        Reranker(Failing(error), on_error="degrade", deadline_ms=deadline_ms).rerank("query", ["fox"])
    assert caught.value is error


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
    assert "scorer failed (ScoringError from RuntimeError)" in caplog.text


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
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


# Deadlines and cancellation


def test_candidates_unscored_at_the_deadline_follow_the_scored() -> None:
    """The scored come best first, then the rest in the first stage's order, without a score."""
    scorer = Scripted({"late 1": LATE, "low": -9.0, "late 2": LATE, "high": 9.0})
    ranking = Reranker(scorer).rerank("query", ["late 1", "low", "late 2", "high"])
    assert [(kept.text, kept.score) for kept in ranking] == [
        ("high", 9.0),
        ("low", -9.0),
        ("late 1", None),
        ("late 2", None),
    ]
    assert str(ranking.degraded) == "deadline: 2 of 4 candidates without a score, in first-stage order"


def test_a_deadline_of_zero_gives_the_first_stages_order() -> None:
    """With 0 ms no candidate is scored, and the order is the first stage's."""
    ranking = Reranker(OverlapScorer(), deadline_ms=0).rerank("fox", ["dog", "fox"])
    assert texts(ranking) == ["dog", "fox"]
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.DEADLINE


def test_a_calls_deadline_replaces_the_rerankers() -> None:
    """The deadline of a given call counts, and not that of the reranker."""
    with_deadline, without = Reranker(OverlapScorer(), deadline_ms=0), Reranker(OverlapScorer())
    assert with_deadline.rerank("fox", ["dog", "fox"], call=Call()).degraded is None
    assert without.rerank("fox", ["dog", "fox"], call=Call(deadline_ms=0)).degraded is not None


def test_a_cancelled_call_is_marked() -> None:
    """A cancelled call gives the first stage's order, marked as cancelled."""
    call = Call()
    call.cancel()
    ranking = Reranker(OverlapScorer()).rerank("fox", ["dog", "fox"], call=call)
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.CANCELLED


def test_a_stuck_engine_is_left_at_the_deadline() -> None:
    """While the engine doesn't return, the call returns at its deadline with the first stage's order, marked."""
    with blocked_engine() as engine:
        ranking = Reranker(CrossEncoder(engine), deadline_ms=50).rerank("query", ["b", "a a"])
    assert [(kept.text, kept.score) for kept in ranking] == [("b", None), ("a a", None)]
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.DEADLINE


def test_scores_from_before_the_deadline_are_used() -> None:
    """Where the engine is stuck after the first batch, its scores count and the other candidates follow, marked."""
    with blocked_engine(rows=1, block_after=1) as engine:
        call = ExpiresWhenBlocked(engine)
        ranking = Reranker(CrossEncoder(engine)).rerank("query", ["b", "a", "the longest text"], call=call)
    assert [(kept.text, kept.score) for kept in ranking] == [("the longest text", 3.0), ("b", None), ("a", None)]
    assert str(ranking.degraded) == "deadline: 2 of 3 candidates without a score, in first-stage order"


async def test_arerank_returns_what_rerank_returns() -> None:
    """``arerank`` gives the ranking of ``rerank``, also for several calls at once."""
    reranker = Reranker(Scripted({"fox": 3.0}))
    rankings = await asyncio.gather(*(reranker.arerank("query", ["dog", "fox"]) for _ in range(8)))
    expected = reranker.rerank("query", ["dog", "fox"])
    assert [(ranking.kept, ranking.dropped) for ranking in rankings] == [(expected.kept, expected.dropped)] * 8


async def test_arerank_passes_the_context_on() -> None:
    """Context variables of the task are there in the thread that reranks."""
    variable: ContextVar[str] = ContextVar("variable", default="")
    values: list[str] = []
    variable.set("the task's")
    await Reranker(Scripted({}), observers=[lambda _: values.append(variable.get())]).arerank("query", ["fox"])
    assert values == ["the task's"]


async def test_cancelling_the_task_stops_scoring() -> None:
    """When the task of ``arerank`` is cancelled, scoring stops after the batch in progress."""
    with blocked_engine(rows=1) as engine:
        scorer = CrossEncoder(engine)
        task = asyncio.create_task(Reranker(scorer).arerank("query", ["a", "b", "c"]))
        await asyncio.to_thread(engine.blocked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.to_thread(scorer.release)  # runs after the jobs in the queue
    assert engine.batches == [[1]]


# Settings and observers


def test_a_scorer_may_be_a_name_or_a_folder(tiny: Callable[..., Path]) -> None:
    """A name means a bundled model, a ``Path`` a model's folder, and the default is a bundled model."""
    folder = tiny("onnx")
    scorers = [Reranker("nano").scorer, Reranker().scorer, Reranker(folder).scorer]
    assert [scorer.spec.name for scorer in scorers] == ["nano", DEFAULT_MODEL, folder.name]


def test_a_bundled_model_reranks() -> None:
    """A reranker with a bundled model's name finds the answer."""
    ranking = Reranker("nano").rerank("how long does a flea live?", ["Cats purr.", "Fleas live 100 days."])
    assert [kept.text for kept in ranking] == ["Fleas live 100 days.", "Cats purr."]


def test_copies_share_the_scorer() -> None:
    """A deep copy of a reranker has the same settings and the same scorer object, whatever kind it is."""
    for scorer in (CrossEncoder(FakeEngine()), Scripted({})):
        original = Reranker(scorer, selection=Selection(top_k=1), on_error="raise", deadline_ms=9, observers=[print])
        copy = deepcopy({"reranker": original})["reranker"]
        assert copy is not original
        assert copy.scorer is scorer
        settings = ("selection", "fusion", "on_error", "deadline_ms", "observers")
        assert [getattr(copy, name) for name in settings] == [getattr(original, name) for name in settings]


async def test_a_reranker_can_be_copied_after_use() -> None:
    """A reranker whose ``arerank`` was called can be copied, and the copy works."""
    reranker = Reranker(Scripted({"fox": 1.0}))
    await reranker.arerank("query", ["fox"])
    assert texts(await deepcopy(reranker).arerank("query", ["dog", "fox"])) == ["fox", "dog"]


class UnknownScale(Scripted):
    """Has scores of which only the order is known."""

    @property
    def spec(self) -> Spec:
        return Spec("unknown", Scale(ScaleKind.UNKNOWN), fingerprint="unknown")


def test_scores_on_an_unknown_scale_have_no_probability() -> None:
    """On an unknown scale the scores give the order, and there are no probabilities."""
    ranking = Reranker(UnknownScale({"fox": 12.0})).rerank("query", ["dog", "fox"])
    assert [(kept.text, kept.score, kept.probability) for kept in ranking] == [("fox", 12.0, None), ("dog", 0.0, None)]


@pytest.mark.parametrize("on_error", ["degrade", "raise"])
def test_a_minimum_probability_needs_a_known_scale(on_error: Any) -> None:
    """A minimum probability for scores on an unknown scale is a configuration error that names the alternatives."""
    reranker = Reranker(UnknownScale({}), selection=Selection(min_probability=0.5), on_error=on_error)
    with pytest.raises(ConfigurationError, match=r"min_probability needs .* unknown is unknown: use top_k or a budget"):
        reranker.rerank("query", ["fox"])


@pytest.mark.parametrize("error", [ValueError("a full disk"), ConfigurationError("a wrong setting")], ids=repr)
def test_a_failing_observer_is_logged_and_changes_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An observer's exception is logged with its traceback; the ranking is returned and the others are called."""

    def fail(ranking: Ranking) -> None:
        raise error

    seen: list[Ranking] = []
    ranking = Reranker(Scripted({"fox": 1.0}), observers=[fail, seen.append]).rerank("query", ["dog", "fox"])
    assert texts(ranking) == ["fox", "dog"]
    assert seen == [ranking]
    (record,) = caplog.records
    assert (record.name, record.levelname, record.exc_info and record.exc_info[1]) == ("secondpass", "ERROR", error)


def test_a_selection_for_one_call() -> None:
    """A selection given to ``rerank`` is used for that call alone."""
    reranker = Reranker(Scripted({"fox": 1.0}), selection=Selection(top_k=1))
    assert texts(reranker.rerank("query", ["dog", "fox"], selection=Selection(top_k=2))) == ["fox", "dog"]
    assert texts(reranker.rerank("query", ["dog", "fox"])) == ["fox"]


def test_observers_see_the_finished_ranking() -> None:
    """Each observer is called once with the ranking that the caller gets, also with a degraded one."""
    seen: list[Ranking] = []
    for scorer in (Scripted({}), Failing()):
        ranking = Reranker(scorer, observers=[seen.append, seen.append]).rerank("query", ["fox"])
        assert [item is ranking for item in seen[-2:]] == [True, True]
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reranker(object()), "scorer must be a model's name, a folder, or an object with spec and score_pairs"),  # type: ignore[arg-type]
        (lambda: Reranker(None), "scorer must be a model's name"),  # type: ignore[arg-type]
        (lambda: Reranker(OverlapScorer(), on_error="ignore"), "on_error must be 'degrade' or 'raise', got 'ignore'"),  # type: ignore[arg-type]
        (lambda: Reranker(OverlapScorer(), deadline_ms=-1), "deadline_ms must be 0 or more"),
        (lambda: Reranker(OverlapScorer(), deadline_ms=math.nan), "deadline_ms must be 0 or more"),
    ],
    ids=["an object", "None", "on_error", "negative deadline", "deadline of nan"],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Reranker], message: str) -> None:
    """An invalid setting is a ConfigurationError when the reranker is created."""
    with pytest.raises(ConfigurationError, match=message):
        make()


# Properties

given_candidates = st.lists(candidates(), max_size=8)
given_outcomes = st.lists(outcomes, max_size=8)


@given(items=given_candidates, given=given_outcomes, selection=selections, fusion=fusions)
def test_every_candidate_comes_out_exactly_once(
    items: list[Candidate], given: list[float | Unscored], selection: Selection, fusion: Fusion | None
) -> None:
    """With any outcomes, fusion and selection, each candidate is kept or dropped once, as the same object."""
    ranking = Reranker(InOrder(given), selection=selection, fusion=fusion).rerank("red fox", items)
    assert Multiset(map(id, all_candidates(ranking))) == Multiset(map(id, items))


@given(items=given_candidates, given=given_outcomes, selection=selections)
def test_the_callers_candidates_are_never_changed(
    items: list[Candidate], given: list[float | Unscored], selection: Selection
) -> None:
    """The list and the candidates are equal to what they were before the call."""
    before = deepcopy(items)
    Reranker(InOrder(given), selection=selection).rerank("red fox", items)
    assert items == before


@given(items=given_candidates, given=given_outcomes, selection=selections, fusion=fusions)
def test_same_input_same_ranking(
    items: list[Candidate], given: list[float | Unscored], selection: Selection, fusion: Fusion | None
) -> None:
    """Two calls with the same input give the same ranking, except for the times."""
    reranker = Reranker(InOrder(given), selection=selection, fusion=fusion)
    one, other = reranker.rerank("red fox", items), reranker.rerank("red fox", items)
    assert (one.kept, one.dropped, one.context, one.degraded) == (
        other.kept,
        other.dropped,
        other.context,
        other.degraded,
    )


@given(items=given_candidates, given=given_outcomes, selection=selections)
def test_the_context_is_within_the_budget(
    items: list[Candidate], given: list[float | Unscored], selection: Selection
) -> None:
    """The tokens of the whole context never exceed the budget."""
    ranking = Reranker(InOrder(given), selection=selection).rerank("red fox", items)
    if selection.budget is not None and ranking.kept:
        assert selection.budget.counting.count(ranking.context) == ranking.tokens
        assert (ranking.tokens or 0) <= selection.budget.max_tokens


@given(values=st.lists(finite, min_size=1, max_size=8))
def test_ties_and_order_by_the_values(values: list[float]) -> None:
    """Candidates are ordered by their values, equal ones in the first stage's order."""
    ranking = Reranker(InOrder(values), selection=ALL).rerank("red fox", ["text"] * len(values))
    assert order(ranking) == sorted(range(1, len(values) + 1), key=lambda rank: (-values[rank - 1], rank))


@given(given=st.lists(st.one_of(finite, st.just(LATE)), min_size=1, max_size=8))
def test_the_unscored_follow_in_first_stage_order(given: list[float | Unscored]) -> None:
    """The unscored candidates come last, in the first stage's order, however many there are."""
    ranking = Reranker(InOrder(given), selection=ALL).rerank("red fox", ["text"] * len(given))
    late = [rank for rank, item in enumerate(given, start=1) if isinstance(item, Unscored)]
    assert order(ranking)[len(given) - len(late) :] == late


@given(values=st.lists(finite, min_size=1, max_size=8), top_k=st.integers(1, 8))
def test_ranks_count_from_one(values: list[float], top_k: int) -> None:
    """The kept have the ranks 1, 2, 3, without gaps."""
    selection = Selection(top_k=top_k, duplicates="keep")
    ranking = Reranker(InOrder(values), selection=selection).rerank("red fox", ["text"] * len(values))
    assert [kept.rank for kept in ranking] == list(range(1, min(top_k, len(values)) + 1))
