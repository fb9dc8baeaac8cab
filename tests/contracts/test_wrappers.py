"""What every scorer that wraps others keeps, however they are composed."""

import math
from collections import Counter as Multiset
from collections.abc import Callable, Sequence

import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_text, finite, outcomes, sentences
from worlds import Failing, Scripted

from secondpass import Call, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.scores import Pair, Score, Unscored, UnscoredReason
from secondpass.scoring.cache import Cached
from secondpass.scoring.cascade import Cascade
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.fallback import Fallback
from secondpass.scoring.scorer import Scorer
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
    "cascade": lambda scorer, other: Cascade(scorer, other, keep=2, vote=0.25),
    "fallback": lambda scorer, other: Fallback(scorer, other, retry_seconds=0),
}


def wrap(name: str, scorer: Scorer, other: Scorer) -> Scorer:
    """Return a scorer around others; where pairs compete within a call, a cache refuses it."""
    if name == "cached" and not scorer.spec.call_invariant:
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
