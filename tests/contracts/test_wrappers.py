"""What every scorer that wraps others keeps, however they are composed."""

import math
import zlib
from collections import Counter as Multiset
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_text, finite, outcomes, sentences
from worlds import Failing, Scripted

from secondpass import Call, ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.records import Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scorers.cached import Cached
from secondpass.scorers.calibrated import Calibrated
from secondpass.scorers.cascade import Cascade
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.scorer import BaseScorer, Scorer, count_tokens
from secondpass.scoring.windows import Windowed, Windows

BROKEN = Failing(ScoringError("broken"))

leaves: st.SearchStrategy[Scorer] = st.one_of(
    st.just(OverlapScorer()),
    st.just(BROKEN),
    st.builds(lambda: CrossEncoder(FakeEngine())),
    st.builds(Scripted, st.dictionaries(st.sampled_from(["", "same", "The fox ran. "]), outcomes, max_size=2)),
)
WRAPPERS: dict[str, Callable[[Scorer, Scorer], Scorer]] = {
    "cached": lambda scorer, _other: Cached(scorer),
    "windowed": lambda scorer, _other: Windowed(scorer, Windows(max_tokens=8, max_windows=3)),
    "pruned windows": lambda scorer, other: Windowed(scorer, Windows(max_tokens=8, max_windows=2), prune_with=other),
    "cascade": lambda scorer, other: Cascade(scorer, other, keep=2, first_stage_weight=0.25),
    "fallback": lambda scorer, other: Fallback(scorer, other, retry_seconds=0),
    "calibrated": lambda scorer, _other: Calibrated(scorer),
}


def wrap(name: str, scorer: Scorer, other: Scorer) -> Scorer:
    """Return a scorer around others; where pairs compete within a call, a cache refuses it."""
    if name == "cached" and not scorer.spec.pointwise:
        with pytest.raises(ConfigurationError, match="pairs compete"):
            Cached(scorer)
        return scorer
    return WRAPPERS[name](scorer, other)


scorers = st.recursive(
    leaves, lambda inner: st.builds(wrap, st.sampled_from(list(WRAPPERS)), inner, inner), max_leaves=4
)
texts = st.lists(st.one_of(sentences, any_text, st.sampled_from(["", "same", "same"])), max_size=6)


@given(
    scorer=scorers, query=st.one_of(any_text, st.just("the fox")), texts=texts, deadline=st.sampled_from([None, 0.0])
)
def test_every_pair_has_one_outcome(scorer: Scorer, query: str, texts: Sequence[str], deadline: float | None) -> None:
    """Any composition gives one outcome for each pair, or raises ``ScoringError``; scores are finite."""
    try:
        scored = scorer.score_pairs([Pair(query, text) for text in texts], call=Call(deadline))
    except ScoringError:
        return
    assert len(scored.outcomes) == len(texts)
    assert all(isinstance(item, Unscored) or math.isfinite(item.value) for item in scored.outcomes)


@given(scorer=scorers, texts=texts, deadline=st.sampled_from([None, 0.0, 3_600_000.0]))
def test_a_reranker_over_any_composition_loses_nothing(
    scorer: Scorer, texts: Sequence[str], deadline: float | None
) -> None:
    """Each candidate comes out once, kept or dropped with a reason."""
    ranking = Reranker(scorer).rerank("the fox", texts, call=Call(deadline))
    assert Multiset(item.index for item in (*ranking.kept, *ranking.dropped)) == Multiset(range(len(texts)))


@given(values=st.dictionaries(st.text("abc", min_size=1, max_size=2), finite, min_size=1))
@pytest.mark.parametrize("name", ["cached", "fallback", "windowed"])
def test_a_wrapper_gives_the_scorers_own_scores(name: str, values: dict[str, float]) -> None:
    """Where nothing fails, and texts are short, a wrapper changes no score, also in a second call."""
    wrapped = WRAPPERS[name](Scripted(values), OverlapScorer())
    pairs = [Pair("the fox", text) for text in values]
    for _ in range(2):
        found = [outcome.value for outcome in wrapped.score_pairs(pairs).outcomes if isinstance(outcome, Score)]
        assert found == list(values.values())


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_cancelled_call_scores_nothing(name: str) -> None:
    """The call reaches the scorers inside."""
    call = Call()
    call.cancel()
    (outcome,) = WRAPPERS[name](OverlapScorer(), OverlapScorer()).score_pairs([Pair("fox", "fox")], call=call).outcomes
    assert getattr(outcome, "reason", None) is UnscoredReason.CANCELLED


class Leaf(BaseScorer):
    """Scores each pair within a range of its own, so that a value tells which scorer gave it.

    :param number: The range is from ten times this number to one more.
    :param faults: What the first calls give instead.
    """

    def __init__(self, number: int, faults: Sequence[str]) -> None:
        scale = Scale(ScaleKind.BOUNDED, 10.0 * number, 10.0 * number + 1)
        self.spec = Spec(f"leaf {number}", scale, f"leaf {number}", max_tokens=12)
        self.faults = list(faults)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "error":
            raise ScoringError("broken")
        shares = [zlib.crc32(repr(pair).encode()) % 100 / 100 for pair in pairs]
        outcomes: list[Score | Unscored] = [Score(self.spec.scale.low + share) for share in shares]
        if fault == "NaN":
            outcomes[::2] = [Unscored(UnscoredReason.INVALID)] * len(outcomes[::2])
        if fault == "late":
            outcomes[len(pairs) // 2 :] = [Unscored(UnscoredReason.DEADLINE)] * (len(pairs) - len(pairs) // 2)
        return Scored(tuple(outcomes), self.spec)


Plan = tuple[int, list[str]] | tuple[str, Any, Any]

leaf_plans = st.tuples(st.integers(1, 3), st.lists(st.sampled_from(["", "error", "NaN", "late"]), max_size=2))
plans: st.SearchStrategy[Plan] = st.recursive(
    leaf_plans,
    lambda inner: st.tuples(st.sampled_from(list(WRAPPERS)), inner, inner),
    max_leaves=4,
)
readable = st.lists(sentences, min_size=1, max_size=6, unique=True)


def build(plan: Plan, *, healthy: bool = False) -> Scorer:
    """Return a composition of leaves, each behind a cache of its own; a healthy one has no faults."""
    if len(plan) == 2:
        return Cached(Leaf(plan[0], [] if healthy else plan[1]))
    name, scorer, other = plan
    return wrap(name, build(scorer, healthy=healthy), build(other, healthy=healthy))


def scored_by(scorer: Scorer, texts: Sequence[str]) -> Scored | None:
    """Return a composition's result, or None where it failed."""
    try:
        return scorer.score_pairs([Pair("the fox", text) for text in texts])
    except ScoringError:
        return None


@given(plan=plans, texts=readable)
def test_values_are_on_the_scale_that_the_result_states(plan: Plan, texts: Sequence[str]) -> None:
    """Whoever answers inside, ``by`` has the scale of all values."""
    scorer = build(plan)
    for scored in filter(None, (scored_by(scorer, texts) for _ in range(3))):
        scale, scores = scored.by.scale, [item for item in scored.outcomes if isinstance(item, Score)]
        values = [item.value for item in scores] + [window.value for item in scores for window in item.windows]
        assert all(scale.low <= value <= scale.high for value in values)


@given(plan=plans, texts=readable)
def test_what_a_cache_may_keep_is_what_any_other_call_gives(plan: Plan, texts: Sequence[str]) -> None:
    """A score isn't partial, by the stated scorer, and of one whose pairs don't compete: alone the pair has it too."""
    scorer = build(plan)
    if not scorer.spec.pointwise:
        return
    for scored in filter(None, (scored_by(scorer, texts) for _ in range(3))):
        if scored.by.fingerprint != scorer.spec.fingerprint:
            continue
        for text, outcome in zip(texts, scored.outcomes, strict=True):
            if isinstance(outcome, Score) and not outcome.partial:
                alone = scored_by(build(plan, healthy=True), [text])
                assert alone is not None
                assert alone.outcomes == (outcome,)


@pytest.mark.parametrize("name", WRAPPERS)
def test_competition_inside_is_stated_outside(name: str) -> None:
    """A scorer around one whose pairs compete says so too; a cascade says it in any case."""
    competing = Cascade(OverlapScorer(), OverlapScorer())
    if name != "cached":
        assert not WRAPPERS[name](competing, OverlapScorer()).spec.pointwise
        assert WRAPPERS[name](OverlapScorer(), OverlapScorer()).spec.pointwise is (name != "cascade")
    if name in {"pruned windows", "fallback"}:
        assert not WRAPPERS[name](OverlapScorer(), competing).spec.pointwise


class Own(BaseScorer):
    """A scorer of one's own, without ``count_tokens``."""

    spec = Spec("own", Scale(ScaleKind.UNKNOWN), "own", max_tokens=12)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        return Scored(tuple(Score(float(len(pair.text))) for pair in pairs), self.spec)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_scorer_that_counts_no_tokens_is_estimated_through_any_wrapper(name: str) -> None:
    """Three bytes count as a token, and extraction works."""
    wrapped = WRAPPERS[name](Own(), Own())
    assert count_tokens(wrapped, ["", "abcd", "äöü"]) == [0, 2, 2]
    selection = Selection(budget=ContextBudget(20), policy="extract")
    assert len(Reranker(wrapped, selection=selection).rerank("the fox", ["The fox ran. " * 40])) == 1
