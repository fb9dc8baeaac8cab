"""The cascade: what is pruned, in which order, and what a deadline leaves."""

from collections.abc import Sequence

import pytest
from fake_engine import ExpiresWhenBlocked, FakeEngine, blocked_engine
from hypothesis import given
from hypothesis import strategies as st
from worlds import Failing, Scripted, reasons

from secondpass import Call, Reranker, Selection, load_scorer
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.records import LOGIT, PROBABILITY, Pair, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scorers.cascade import Cascade, pruning_order
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.scorer import OverlapScorer

CHEAP = Scripted({"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0})
PRECISE = Scripted({"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4})


def pairs(*texts: str, query: str = "q") -> list[Pair]:
    """Return one query's pairs."""
    return [Pair(query, text) for text in texts]


def values(scored: Scored) -> list[object]:
    """Return each outcome's value, or the reason why there is none."""
    return [item.value if isinstance(item, Score) else str(item.reason) for item in scored.outcomes]


def test_the_best_by_the_cheap_scorer_get_the_precise_scores() -> None:
    """Of four pairs the cheap scorer's best two are scored by the precise one, and the others are pruned."""
    assert values(Cascade(CHEAP, PRECISE, keep=2).score_pairs(pairs("d", "a", "c", "b"))) == [
        "pruned",
        0.1,
        "pruned",
        0.2,
    ]


def test_a_pruned_pair_has_its_cheap_score_and_the_reason() -> None:
    """A pruned pair says by whom and at which place it was pruned, with the cheap score apart from the scale."""
    scored = Cascade(CHEAP, PRECISE, keep=2).score_pairs(pairs("a", "b", "c", "d"))
    detail = "place 3 of 4 by scripted (2.00), and the best 2 went on"
    assert scored.outcomes[2] == Unscored(UnscoredReason.PRUNED, detail, cheap_score=2.0, fallback_rank=2)


def test_the_selection_drops_the_pruned_after_the_scored() -> None:
    """Pruned candidates are dropped with their reason, in the cheap order, also where top_n is above keep."""
    ranking = Reranker(Cascade(CHEAP, PRECISE, keep=2), selection=Selection(top_n=4)).rerank("q", ["d", "c", "b", "a"])
    assert [kept.text for kept in ranking] == ["b", "a"]
    assert reasons(ranking.dropped) == {"c": "pruned", "d": "pruned"}
    assert ranking.degraded is None


def test_what_each_scorer_did_is_reported() -> None:
    """The cheap stage's facts count what went on and what was pruned."""
    cascade = Cascade(CrossEncoder(FakeEngine()), CrossEncoder(FakeEngine()), keep=1)
    first, second = cascade.score_pairs(pairs("one", "two words", "and three words")).stages
    assert (first.facts["pairs"], first.facts["went_on"], first.facts["pruned"]) == (3, 1, 2)
    assert second.facts["pairs"] == 1


@pytest.mark.parametrize(("keep", "scored"), [(0.5, 2), (0.26, 2), (0.25, 1), (3, 3), (4, 4), (100, 4)], ids=str)
def test_keep_is_a_number_or_a_share(keep: float, scored: int) -> None:
    """A share is rounded up to whole candidates; with a number above the candidates all go on."""
    outcomes = Cascade(CHEAP, PRECISE, keep=keep).score_pairs(pairs("a", "b", "c", "d")).outcomes
    assert sum(isinstance(outcome, Score) for outcome in outcomes) == scored


def test_nothing_to_prune_skips_the_cheap_scorer() -> None:
    """Where all candidates would go on, the cheap scorer isn't called."""
    cheap = Scripted({})
    Cascade(cheap, PRECISE, keep=2).score_pairs(pairs("a", "b"))
    assert cheap.asked == []


def test_three_scorers_prune_twice() -> None:
    """Each scorer but the last prunes; those pruned later stand before those pruned earlier."""
    middle = Scripted({"a": 1.0, "b": 2.0, "c": 3.0})
    scored = Cascade(CHEAP, middle, PRECISE, keep=(3, 1)).score_pairs(pairs("a", "b", "c", "d"))
    assert values(scored) == ["pruned", "pruned", 0.3, "pruned"]
    assert [getattr(outcome, "fallback_rank", None) for outcome in scored.outcomes] == [2, 1, None, 3]


def test_each_query_is_pruned_by_itself() -> None:
    """The pairs of several queries in one call are pruned for each query."""
    mixed = [Pair("one", "a"), Pair("two", "d"), Pair("one", "b"), Pair("two", "c")]
    assert values(Cascade(CHEAP, PRECISE, keep=1).score_pairs(mixed)) == [0.1, "pruned", "pruned", 0.3]


def test_the_first_stage_may_vote() -> None:
    """With a vote the order of the pairs counts in what is pruned: reciprocal ranks, added up by hand."""
    assert pruning_order([1.0, 3.0, 2.0]) == [1, 2, 0]
    # position 0: 1/63 + 1/61; 1: 1/61 + 1/62; 2: 1/62 + 1/63
    assert pruning_order([1.0, 3.0, 2.0], first_stage_weight=1.0) == [1, 0, 2]
    assert pruning_order([1.0, 3.0, 2.0], first_stage_weight=100.0) == [0, 1, 2]


@given(scores=st.lists(st.none() | st.floats(-9, 9), max_size=12), first_stage_weight=st.sampled_from([0.0, 0.3, 2.0]))
def test_pruning_orders_every_pair_once(scores: Sequence[float | None], first_stage_weight: float) -> None:
    """Every pair has one place, and those without a cheap score come last."""
    order = pruning_order(scores, first_stage_weight)
    assert sorted(order) == list(range(len(scores)))
    assert sorted(scores[position] is None for position in order) == [scores[position] is None for position in order]


@given(texts=st.lists(st.sampled_from("abcdefg"), max_size=12), keep=st.integers(1, 9) | st.floats(0.1, 0.9))
def test_every_pair_has_one_outcome(texts: list[str], keep: float) -> None:
    """Each pair has an outcome, and only pruned ones have no score."""
    outcomes = Cascade(OverlapScorer(), PRECISE, keep=keep).score_pairs(pairs(*texts)).outcomes
    assert len(outcomes) == len(texts)
    assert {item.reason for item in outcomes if isinstance(item, Unscored)} <= {UnscoredReason.PRUNED}


# Scales, fingerprints, bad input


def test_only_the_last_scale_counts() -> None:
    """Stages may have different scales; the result has the last one's."""
    spec = Cascade(OverlapScorer(), PRECISE).spec
    assert (spec.scale, spec.name) == (LOGIT, "overlap > scripted")


def test_the_result_is_by_the_scorers_that_answered() -> None:
    """With a fallback as a stage the scale and the fingerprint are those of who answered, and the reason names it."""
    precise = Cascade(CHEAP, Fallback(Failing(), OverlapScorer()), keep=1)
    by = precise.score_pairs(pairs("a", "b")).by
    assert (by.scale, by.name) == (OverlapScorer().spec.scale, precise.spec.name)
    assert by.fingerprint != precise.spec.fingerprint
    cheap = Cascade(Fallback(Failing(), OverlapScorer()), PRECISE, keep=1)
    scored = cheap.score_pairs(pairs("q", "b"))
    assert (scored.by.scale, scored.by.fingerprint != cheap.spec.fingerprint) == (LOGIT, True)
    assert "by overlap" in getattr(scored.outcomes[1], "detail", "")
    assert Cascade(CHEAP, PRECISE, keep=1).score_pairs(pairs("a", "b")).by == Cascade(CHEAP, PRECISE, keep=1).spec


def test_a_cheap_score_that_isnt_finite_is_last() -> None:
    """NaN as a cheap score decides nothing about the others."""
    cheap = Scripted({"a": float("nan"), "b": 1.0, "c": 2.0})
    assert values(Cascade(cheap, PRECISE, keep=1).score_pairs(pairs("a", "b", "c"))) == ["invalid", "pruned", 0.3]


def test_the_fingerprint_has_everything_that_decides() -> None:
    """Other scorers, another keep or another vote give another fingerprint."""
    cascades = [
        Cascade(CHEAP, PRECISE, keep=2),
        Cascade(CHEAP, PRECISE, keep=3),
        Cascade(CHEAP, PRECISE, keep=2, first_stage_weight=0.5),
        Cascade(OverlapScorer(), PRECISE, keep=2),
    ]
    assert len({cascade.spec.fingerprint for cascade in cascades}) == 4


def test_it_is_batch_invariant_if_all_its_scorers_are() -> None:
    """One scorer whose scores depend on the batch makes the cascade depend on it."""

    class Dependent(Scripted):
        @property
        def spec(self) -> Spec:
            return Spec("dependent", PROBABILITY, "dependent", batch_invariant=False)

    assert Cascade(CHEAP, PRECISE).spec.batch_invariant
    assert not Cascade(Dependent({}), PRECISE).spec.batch_invariant


@pytest.mark.parametrize("keep", [0, -1, 1.0, 0.0, -0.5, True, float("nan"), None, "30", (2, 3), ()], ids=repr)
def test_an_invalid_keep_is_refused(keep: object) -> None:
    """Keep must be a whole number from 1 or a share between 0 and 1, one entry for each scorer but the last."""
    with pytest.raises(ConfigurationError, match=r"keep must (be a whole number|have one entry)"):
        Cascade(CHEAP, PRECISE, keep=keep)  # type: ignore[arg-type]


def test_other_invalid_settings_are_refused() -> None:
    """A cascade needs two scorers and a vote that isn't negative."""
    for scorers in ((), (CHEAP,), (CHEAP, "small"), (CHEAP, Scripted)):
        with pytest.raises(ConfigurationError, match="at least two scorers, cheapest first"):
            Cascade(*scorers)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="first_stage_weight must be 0"):
        Cascade(CHEAP, PRECISE, first_stage_weight=-1)


# Failures and deadlines


@pytest.mark.parametrize("scorers", [(Failing(), PRECISE), (CHEAP, Failing())], ids=["cheap", "precise"])
def test_a_scorer_that_fails_fails_the_cascade(scorers: tuple[Scripted, Scripted]) -> None:
    """An error of either scorer is raised; the reranker then returns the first stage's order, marked."""
    cascade = Cascade(*scorers, keep=1)
    with pytest.raises(ScoringError):
        cascade.score_pairs(pairs("a", "b"))
    ranking = Reranker(cascade).rerank("q", ["b", "a"])
    assert ([kept.text for kept in ranking], str(ranking.degraded)) == (["b", "a"], "scorer failed: the GPU is gone")


def test_an_invalid_cheap_score_stays_invalid() -> None:
    """A pair for which the cheap scorer gave no finite score isn't scored further, and is last in its order."""
    cheap = Scripted({"a": Unscored(UnscoredReason.INVALID, "NaN"), "b": 1.0, "c": 0.0})
    assert values(Cascade(cheap, PRECISE, keep=1).score_pairs(pairs("a", "b", "c"))) == ["invalid", 0.2, "pruned"]


def test_a_deadline_leaves_the_rest_in_cheap_order() -> None:
    """What the precise scorer reached comes first, then the rest of what went on in cheap order, marked."""
    texts = ["w", "w x", "w x y", "w x y z", "v w x y z"]  # the fake engine's score is the number of words
    with blocked_engine(rows=1, block_after=1) as engine:
        cheap = Scripted({text: float(len(text)) for text in texts})
        cascade = Cascade(cheap, CrossEncoder(engine), keep=3)
        ranking = Reranker(cascade).rerank("q", texts, call=ExpiresWhenBlocked(engine))
    assert [kept.text for kept in ranking] == ["v w x y z", "w x y z", "w x y"]
    assert [kept.score for kept in ranking] == [5.0, None, None]
    assert str(ranking.degraded) == "deadline: 2 of 5 candidates without a score, in a cheaper scorer's order"
    assert set(reasons(ranking.dropped).values()) == {"pruned"}


def test_a_deadline_during_the_cheap_pass_prunes_nothing() -> None:
    """What the cheap scorer didn't reach stays eligible in first-stage order, marked."""
    ranking = Reranker(Cascade(CrossEncoder(FakeEngine()), PRECISE, keep=1)).rerank("q", ["b", "a"], call=Call(0))
    assert ([kept.text for kept in ranking], ranking.dropped) == (["b", "a"], ())
    assert ranking.degraded


def test_warming_up_and_releasing_reach_every_scorer() -> None:
    """``warmup`` and ``release`` call those of each scorer that has them; tokens are counted by the last."""
    engines = FakeEngine(), FakeEngine()
    cascade = Cascade(*map(CrossEncoder, engines))
    cascade.warmup()
    cascade.release()
    assert [(len(engine.batches), engine.released) for engine in engines] == [(1, 1), (1, 1)]
    assert cascade.count_tokens(["two words"]) == [2]
    Cascade(OverlapScorer(), PRECISE).warmup()


def test_fast_is_the_bundled_cascade() -> None:
    """``load_scorer("fast")`` prunes with ``nano`` and decides with ``small``."""
    cascade = load_scorer("fast", device="cpu")
    assert isinstance(cascade, Cascade)
    assert [scorer.spec.name for scorer in cascade.scorers] == ["nano", "small"]
    assert (cascade.spec.name, cascade.keep) == ("fast", (30,))
