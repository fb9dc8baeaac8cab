"""The road: candidates in, scores, fusion, selection, ranking out, and what holds whatever happens on the way."""

import math
from collections import Counter as Multiset
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import candidates, finite, fusions, outcomes, selections
from worlds import Failing, Scripted, count_words, reasons, texts

from secondpass import Call, Candidate, ContextBudget, OverlapScorer, Ranking, ReciprocalRank, Reranker, Selection
from secondpass.errors import ConfigurationError, InputError, ModelError, OutOfMemory, ScoringError
from secondpass.fusion import Fusion
from secondpass.ranking import Cause
from secondpass.scores import Pair, Score, Scored, Unscored, UnscoredReason

LATE = Unscored(UnscoredReason.DEADLINE)
INVALID = Unscored(UnscoredReason.INVALID, "the model gave nan")
ALL = Selection(duplicates="keep")


class InOrder(Scripted):
    """Gives the outcomes one after the other, whatever the texts."""

    def __init__(self, told: Sequence[float | Unscored]) -> None:
        super().__init__({})
        self.told = told

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        told = (list(self.told) + [0.0] * len(pairs))[: len(pairs)]
        return Scored(tuple(item if isinstance(item, Unscored) else Score(item) for item in told), self.spec)


def came_out(ranking: Ranking) -> list[Candidate]:
    """Return every candidate of a ranking, the kept first."""
    return [item.candidate for item in (*ranking.kept, *ranking.dropped)]


def order(ranking: Ranking) -> list[int]:
    """Return the first-stage ranks of the kept, in the new order."""
    return [kept.rank_before for kept in ranking]


# The order


def test_candidates_come_best_first() -> None:
    """The scorer's order replaces the first stage's, and both ranks are told."""
    ranking = Reranker(Scripted({"dog": 1.0, "fox": 3.0, "bee": 2.0})).rerank("who?", ["dog", "fox", "bee"])
    assert [(kept.text, kept.rank_before, kept.rank) for kept in ranking] == [
        ("fox", 2, 1),
        ("bee", 3, 2),
        ("dog", 1, 3),
    ]


def test_the_scorer_reads_question_and_text() -> None:
    """Each candidate's scored text is paired with the question; the prompt's text isn't shown to the scorer."""
    scorer = Scripted({})
    Reranker(scorer).rerank("who?", ["fox", Candidate("dog", prompt_text="a long story")])
    assert scorer.asked == [Pair("who?", "fox"), Pair("who?", "dog")]


def test_ties_go_to_the_better_first_stage_rank() -> None:
    """Equal scores leave the first stage's order, by given ranks where there are any."""
    given_ranks = [Candidate("third", rank=3), Candidate("first", rank=1), Candidate("second", rank=2)]
    assert texts(Reranker(Scripted({})).rerank("who?", ["a", "b", "c"])) == ["a", "b", "c"]
    assert texts(Reranker(Scripted({})).rerank("who?", given_ranks)) == ["first", "second", "third"]


def test_the_order_comes_from_raw_values() -> None:
    """Two logits whose probabilities are both 1.0 keep their order."""
    ranking = Reranker(Scripted({"good": 40.0, "better": 50.0})).rerank("who?", ["good", "better"])
    assert [(kept.text, kept.probability) for kept in ranking] == [("better", 1.0), ("good", 1.0)]


def test_scores_are_plain_floats() -> None:
    """Score and probability are Python floats: a logit of ln 3 is 3 to 1."""
    (kept,) = Reranker(Scripted({"fox": math.log(3)})).rerank("who?", ["fox"])
    assert (type(kept.score), type(kept.probability)) == (float, float)
    assert kept.probability == pytest.approx(0.75)


# Fusion


def test_fusion_orders_but_the_threshold_reads_the_probability() -> None:
    """The first stage's weight puts the dog first, and its own probability of 0.27 still drops it at 0.5."""
    scorer = Scripted({"dog": -1.0, "fox": 1.0})
    fusion = ReciprocalRank(weights={"first_stage": 5.0})
    fused = Reranker(scorer, fusion=fusion).rerank("who?", ["dog", "fox"])
    strict = Reranker(scorer, fusion=fusion, selection=Selection(min_probability=0.5)).rerank("who?", ["dog", "fox"])
    assert texts(fused) == ["dog", "fox"]
    assert (texts(strict), reasons(strict.dropped)) == (["fox"], {"dog": "below threshold"})


def test_the_fused_value_stands_beside_the_score() -> None:
    """Fused values are told next to the raw scores, and their rule in a stage of its own."""
    ranking = Reranker(Scripted({"fox": 3.0}), fusion=ReciprocalRank()).rerank("who?", ["fox"])
    assert ranking[0].score == 3.0
    assert ranking[0].fused == pytest.approx(2 / 61)
    assert [stage.name for stage in ranking.stages] == ["score", "fuse", "select"]


def test_only_scored_candidates_are_fused() -> None:
    """A candidate that the deadline left out has no fused value and comes after all that have one."""
    ranking = Reranker(Scripted({"late": LATE}), fusion=ReciprocalRank()).rerank("who?", ["late", "fox"])
    assert [(kept.text, kept.fused is None) for kept in ranking] == [("fox", False), ("late", True)]


def test_an_unknown_signal_raises_whatever_on_error_says() -> None:
    """Fusing by a signal that nobody carries is a mistake in the settings, not a failure of the scorer."""
    reranker = Reranker(Scripted({}), fusion=ReciprocalRank(weights={"clicks": 1.0}), on_error="degrade")
    with pytest.raises(ConfigurationError, match="'clicks'"):
        reranker.rerank("who?", ["fox"])


@pytest.mark.parametrize("outcome", [LATE, INVALID], ids=["deadline", "invalid"])
def test_a_signal_that_only_an_unscored_candidate_carries_is_no_mistake(outcome: Unscored) -> None:
    """That the one candidate with the signal has no score loses neither the ranking nor anyone in it."""
    signalled = Candidate("signalled", signals={"bm25": 3.0})
    reranker = Reranker(Scripted({"signalled": outcome}), fusion=ReciprocalRank(weights={"bm25": 1.0}))
    assert Multiset(map(id, came_out(reranker.rerank("who?", [signalled, Candidate("fox")]))))[id(signalled)] == 1


# Failures


@pytest.mark.parametrize("error", [ScoringError("broken"), OutOfMemory("no room")], ids=["failure", "out of memory"])
def test_a_failing_scorer_leaves_the_first_stages_order(error: ScoringError) -> None:
    """The first stage's order comes back, marked with the cause; nobody has a score."""
    ranking = Reranker(Failing(error)).rerank("who?", ["b", "a"])
    assert [(kept.text, kept.score, kept.probability) for kept in ranking] == [("b", None, None), ("a", None, None)]
    assert ranking.degraded is not None
    assert (ranking.degraded.cause, ranking.degraded.detail, ranking.by) == (Cause.SCORER_FAILED, str(error), None)


def test_a_degraded_ranking_still_keeps_the_budget() -> None:
    """Without a model the context is still trimmed, and no threshold is applied to scores that aren't there."""
    selection = Selection(min_probability=0.9, budget=ContextBudget(2, counter=count_words))
    ranking = Reranker(Failing(), selection=selection).rerank("who?", ["fox", "dog", "bee"])
    assert ranking.context == "fox\n\ndog"
    assert reasons(ranking.dropped) == {"bee": "over budget"}


def test_on_error_raise_raises() -> None:
    """Who would rather have an exception than the first stage's order gets it as it was."""
    error = ScoringError("broken")
    with pytest.raises(ScoringError) as caught:
        Reranker(Failing(error), on_error="raise").rerank("who?", ["fox"])
    assert caught.value is error


@pytest.mark.parametrize(
    "error", [ConfigurationError("a wrong setting"), ModelError("a wrong model"), KeyError("a bug")], ids=repr
)
def test_mistakes_always_raise(error: Exception) -> None:
    """A configuration error, or a bug in a scorer, is never hidden behind the first stage's order."""
    with pytest.raises(type(error)):
        Reranker(Failing(error), on_error="degrade").rerank("who?", ["fox"])


@pytest.mark.parametrize("outcomes_", [0, 1, 3])
def test_a_wrong_number_of_outcomes_is_a_failure(outcomes_: int) -> None:
    """A scorer that answers for more or fewer pairs than it was given is not believed at all."""

    class Miscounting(Scripted):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            return Scored((Score(1.0),) * outcomes_, self.spec)

    ranking = Reranker(Miscounting({})).rerank("who?", ["b", "a"])
    assert texts(ranking) == ["b", "a"]
    assert str(ranking.degraded) == (f"scorer failed: scripted was given 2 pairs and returned {outcomes_} outcomes")


# NaN, empty texts, empty questions


def test_nan_makes_one_candidate_invalid() -> None:
    """What the model gave NaN for is dropped with the reason, and costs nobody else anything."""
    ranking = Reranker(Scripted({"odd": INVALID, "fox": 2.0})).rerank("who?", ["odd", "fox"])
    assert (texts(ranking), reasons(ranking.dropped)) == (["fox"], {"odd": "invalid"})
    assert ranking.degraded is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_a_scorer_that_hands_nan_on_is_not_believed(value: float) -> None:
    """A scorer of somebody else's that gives NaN or infinity as a score makes that candidate invalid, never a rank."""
    ranking = Reranker(Scripted({"odd": value, "fox": 2.0, "dog": 1.0})).rerank("who?", ["dog", "odd", "fox"])
    assert (texts(ranking), reasons(ranking.dropped)) == (["fox", "dog"], {"odd": "invalid"})


def test_nan_for_everybody_is_a_failure() -> None:
    """A model that gives no number at all has failed, and the first stage's order comes back."""
    ranking = Reranker(Scripted({"b": INVALID, "a": INVALID})).rerank("who?", ["b", "a"])
    assert texts(ranking) == ["b", "a"]
    assert str(ranking.degraded) == "scorer failed: scripted gave no finite score for any of 2 candidates"


@pytest.mark.parametrize("text", ["", " \n\t"], ids=["empty", "blanks"])
def test_an_empty_text_is_invalid(text: str) -> None:
    """There is nothing to read in it: it is dropped, and the scorer never sees it."""
    scorer = Scripted({})
    ranking = Reranker(scorer).rerank("who?", [text, "fox"])
    assert reasons(ranking.dropped) == {text: "invalid"}
    assert (texts(ranking), scorer.asked) == (["fox"], [Pair("who?", "fox")])


def test_nothing_but_empty_texts_is_no_failure() -> None:
    """With nothing to read no scorer is asked, and nothing is degraded."""
    ranking = Reranker(Failing()).rerank("who?", ["", " "])
    assert (ranking.kept, len(ranking.dropped), ranking.degraded) == ((), 2, None)


@pytest.mark.parametrize("query", ["", " \n"], ids=["empty", "blanks"])
def test_an_empty_question_leaves_the_first_stages_order(query: str) -> None:
    """Without a question there is nothing to score by; the order stays and says why."""
    scorer = Scripted({})
    ranking = Reranker(scorer).rerank(query, ["b", "a"])
    assert (texts(ranking), scorer.asked) == (["b", "a"], [])
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.EMPTY_QUERY


def test_an_empty_question_can_raise() -> None:
    """With ``on_error="raise"`` an empty question is an InputError."""
    with pytest.raises(InputError, match="the query is empty"):
        Reranker(Scripted({}), on_error="raise").rerank("", ["fox"])


def test_no_candidates_are_no_failure() -> None:
    """Nothing found is an empty ranking, whatever the scorer would do."""
    ranking = Reranker(Failing()).rerank("who?", [])
    assert (ranking.kept, ranking.dropped, ranking.context, ranking.degraded) == ((), (), "", None)


def test_one_candidate_is_scored_too() -> None:
    """A single candidate gets its score, since a threshold may drop it."""
    strict = Selection(min_probability=0.5)
    ranking = Reranker(Scripted({"fox": -3.0}), selection=strict).rerank("who?", ["fox"])
    assert reasons(ranking.dropped) == {"fox": "below threshold"}


@pytest.mark.parametrize(
    ("query", "found", "said"),
    [
        (None, ["fox"], "the query must be a string, got NoneType"),
        ("who?", "fox", "got str: 'fox'"),
        ("who?", ["fox", None], "got NoneType at position 1"),
    ],
    ids=["query", "one string", "candidate"],
)
def test_wrong_input_raises(query: Any, found: Any, said: str) -> None:
    """What is no query or no candidate is a mistake in the program, and raises under either ``on_error``."""
    with pytest.raises(InputError, match=said):
        Reranker(Scripted({}), on_error="degrade").rerank(query, found)


# Patience


def test_what_a_deadline_left_unscored_comes_after_the_scored() -> None:
    """The scored come best first, then the rest in the first stage's order, without a score."""
    scorer = Scripted({"late 1": LATE, "low": -9.0, "late 2": LATE, "high": 9.0})
    ranking = Reranker(scorer).rerank("who?", ["late 1", "low", "late 2", "high"])
    assert [(kept.text, kept.score) for kept in ranking] == [
        ("high", 9.0),
        ("low", -9.0),
        ("late 1", None),
        ("late 2", None),
    ]
    assert str(ranking.degraded) == "deadline: 2 of 4 candidates without a score, in first-stage order"


def test_a_deadline_of_nothing_is_the_first_stages_order() -> None:
    """With 0 ms nobody is scored; the reranker's own deadline starts with each call."""
    ranking = Reranker(OverlapScorer(), deadline_ms=0).rerank("fox", ["dog", "fox"])
    assert texts(ranking) == ["dog", "fox"]
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.DEADLINE


def test_a_calls_own_patience_takes_the_place_of_the_rerankers() -> None:
    """A call that is passed in decides, in either direction."""
    hasty, patient = Reranker(OverlapScorer(), deadline_ms=0), Reranker(OverlapScorer())
    assert hasty.rerank("fox", ["dog", "fox"], call=Call()).degraded is None
    assert patient.rerank("fox", ["dog", "fox"], call=Call(deadline_ms=0)).degraded is not None


def test_a_cancelled_call_says_so() -> None:
    """Who cancels gets the first stage's order, marked as cancelled."""
    call = Call()
    call.cancel()
    ranking = Reranker(OverlapScorer()).rerank("fox", ["dog", "fox"], call=call)
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.CANCELLED


# Settings and observers


def test_a_selection_for_one_call() -> None:
    """A call's own selection holds for that call alone."""
    reranker = Reranker(Scripted({"fox": 1.0}), selection=Selection(top_k=1))
    assert texts(reranker.rerank("who?", ["dog", "fox"], selection=Selection(top_k=2))) == ["fox", "dog"]
    assert texts(reranker.rerank("who?", ["dog", "fox"])) == ["fox"]


def test_observers_see_the_finished_ranking() -> None:
    """Each observer is called once with what the caller gets, a degraded one included."""
    seen: list[Ranking] = []
    for scorer in (Scripted({}), Failing()):
        ranking = Reranker(scorer, observers=[seen.append, seen.append]).rerank("who?", ["fox"])
        assert [item is ranking for item in seen[-2:]] == [True, True]
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Reranker("mini"), "scorer must be a Scorer, such as load_scorer"),  # type: ignore[arg-type]
        (lambda: Reranker(OverlapScorer(), on_error="ignore"), "on_error must be 'degrade' or 'raise', got 'ignore'"),  # type: ignore[arg-type]
        (lambda: Reranker(OverlapScorer(), deadline_ms=-1), "deadline_ms must be 0 or more"),
        (lambda: Reranker(OverlapScorer(), deadline_ms=math.nan), "deadline_ms must be 0 or more"),
    ],
    ids=["no scorer", "on_error", "negative deadline", "deadline of nan"],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Reranker], said: str) -> None:
    """A reranker that can't work is a ConfigurationError when it is made."""
    with pytest.raises(ConfigurationError, match=said):
        make()


# What holds for every world

found = st.lists(candidates(), max_size=8)
told = st.lists(outcomes, max_size=8)


@given(found=found, told=told, selection=selections, fusion=fusions)
def test_every_candidate_comes_out_exactly_once(
    found: list[Candidate], told: list[float | Unscored], selection: Selection, fusion: Fusion | None
) -> None:
    """Whatever scorer, fusion and selection do, each candidate is kept or dropped once, as the very same object."""
    ranking = Reranker(InOrder(told), selection=selection, fusion=fusion).rerank("red fox", found)
    assert Multiset(map(id, came_out(ranking))) == Multiset(map(id, found))


@given(found=found, told=told, selection=selections)
def test_the_callers_candidates_are_never_changed(
    found: list[Candidate], told: list[float | Unscored], selection: Selection
) -> None:
    """List and candidates are afterwards what they were before."""
    before = deepcopy(found)
    Reranker(InOrder(told), selection=selection).rerank("red fox", found)
    assert found == before


@given(found=found, told=told, selection=selections, fusion=fusions)
def test_same_input_same_ranking(
    found: list[Candidate], told: list[float | Unscored], selection: Selection, fusion: Fusion | None
) -> None:
    """Asked twice, a reranker gives the same answer, its stop-watches aside."""
    reranker = Reranker(InOrder(told), selection=selection, fusion=fusion)
    one, other = reranker.rerank("red fox", found), reranker.rerank("red fox", found)
    assert (one.kept, one.dropped, one.context, one.degraded) == (
        other.kept,
        other.dropped,
        other.context,
        other.degraded,
    )


@given(found=found, told=told, selection=selections)
def test_the_context_is_within_the_budget(
    found: list[Candidate], told: list[float | Unscored], selection: Selection
) -> None:
    """What the reader will see, counted as a whole, never takes more than the budget."""
    ranking = Reranker(InOrder(told), selection=selection).rerank("red fox", found)
    if selection.budget is not None and ranking.kept:
        assert selection.budget.counting.count(ranking.context) == ranking.tokens
        assert (ranking.tokens or 0) <= selection.budget.max_tokens


@given(values=st.lists(finite, min_size=1, max_size=8))
def test_ties_and_order_by_the_values(values: list[float]) -> None:
    """The new order is that of the values, and equal values leave the first stage's order."""
    ranking = Reranker(InOrder(values), selection=ALL).rerank("red fox", ["text"] * len(values))
    assert order(ranking) == sorted(range(1, len(values) + 1), key=lambda rank: (-values[rank - 1], rank))


@given(told=st.lists(st.one_of(finite, st.just(LATE)), min_size=1, max_size=8))
def test_the_unscored_follow_in_first_stage_order(told: list[float | Unscored]) -> None:
    """However many a deadline leaves out, they come last, in the order in which they were found."""
    ranking = Reranker(InOrder(told), selection=ALL).rerank("red fox", ["text"] * len(told))
    late = [rank for rank, item in enumerate(told, start=1) if isinstance(item, Unscored)]
    assert order(ranking)[len(told) - len(late) :] == late


@given(values=st.lists(finite, min_size=1, max_size=8), top_k=st.integers(1, 8))
def test_ranks_count_from_one(values: list[float], top_k: int) -> None:
    """The kept have the ranks 1, 2, 3, without gaps."""
    selection = Selection(top_k=top_k, duplicates="keep")
    ranking = Reranker(InOrder(values), selection=selection).rerank("red fox", ["text"] * len(values))
    assert [kept.rank for kept in ranking] == list(range(1, min(top_k, len(values)) + 1))
