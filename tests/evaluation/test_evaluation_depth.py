"""The depth curve: derived from one scoring, timed by real ones."""

import math

import pytest
from evaluation_collections import CORPUS, animals, no_progress
from hypothesis import given
from hypothesis import strategies as st
from strategies import finite
from worlds import Failing, Scripted

from secondpass import Candidate, Reranker, Selection, WeightedSum
from secondpass.evaluation import Collection
from secondpass.evaluation.depth import Replay, Timing, depths_within, order_at, time_depths, timing_of
from secondpass.evaluation.systems import EVERYTHING, System, name_systems, rerank_collection
from secondpass.fusion import Fusion, ReciprocalRank
from secondpass.ranking import Reason
from secondpass.records import LOGIT, Pair, Score, Spec, Unscored, UnscoredReason

outcome = st.one_of(finite, st.builds(Unscored, st.sampled_from(UnscoredReason)))


def test_replay_gives_each_occurrence_its_own_outcome() -> None:
    """Two candidates with one text get what each of them got before."""
    replay = Replay(Spec("s", LOGIT, "f"), [Score(1.0), Score(3.0), Score(2.0)])
    scored = replay.score_pairs([Pair("q", "a"), Pair("q", "b"), Pair("q", "a")])
    assert scored.outcomes == (Score(1.0), Score(3.0), Score(2.0))
    assert replay.score_pairs([Pair("q", "a")]).outcomes == (Score(1.0),)
    assert replay.spec.name == "s"


@given(
    st.lists(st.tuples(st.sampled_from(["fox", "dog", "bee", "owl", "  "]), finite), min_size=1, max_size=8),
    st.lists(outcome, min_size=4, max_size=4),
    st.sampled_from([None, ReciprocalRank(), WeightedSum(alpha=0.5)]),
)
def test_derived_order_is_that_of_really_reranking_the_head(
    texts: list[tuple[str, float]], outcomes: list[float | Unscored], fusion: Fusion | None
) -> None:
    """At each depth the order derived from one scoring is that of reranking so many, the rest following."""
    script = dict(zip(["fox", "dog", "bee", "owl"], outcomes, strict=True))
    candidates = [Candidate(text, id=str(n), score=score) for n, (text, score) in enumerate(texts)]
    (system,) = name_systems(Reranker(Scripted(script), fusion=fusion))
    corpus = {str(candidate.id): candidate.text for candidate in candidates}
    collection = Collection("c", {"q": "question"}, corpus, {"q": {"0": 1}}, {"q": candidates})
    (result,) = rerank_collection(system, collection, no_progress)
    for depth in range(1, len(candidates) + 1):
        really = system.reranker.rerank("question", candidates[:depth], selection=EVERYTHING)
        pruned = [item.candidate.id for item in really.dropped if item.reason is Reason.PRUNED]
        head = [*(kept.candidate.id for kept in really.kept), *pruned]
        assert list(order_at(system, result, candidates, depth)) == [*head, *(c.id for c in candidates[depth:])]


def test_depth_0_is_the_first_stage_and_the_greatest_is_the_whole_order() -> None:
    """The curve begins where nothing was reranked, and ends at the order that is measured."""
    collection = animals()
    (system,) = name_systems(Scripted({CORPUS["fox"]: 5.0}))
    result = rerank_collection(system, collection, no_progress)[1]
    assert order_at(system, result, collection.run["q2"], 0) == ("whale", "dog", "bee", "fox")
    assert order_at(system, result, collection.run["q2"], 4) == result.order == ("fox", "whale", "dog", "bee")


@pytest.mark.parametrize(
    ("wanted", "had"), [((1, 2, 4, 8), (1, 2, 4)), ((4,), (4,)), ((10, 20), (4,)), ((), ())], ids=str
)
def test_depths_beyond_the_run_are_left_out(wanted: tuple[int, ...], had: tuple[int, ...]) -> None:
    """Depths that the run doesn't have are left out; if it has none of them, its own depth is taken."""
    assert depths_within(animals(), wanted) == had


def test_an_empty_run_has_no_depth() -> None:
    """Without candidates there is no curve."""
    assert depths_within(animals(run={}), (1, 2)) == ()


def test_depths_take_turns_on_the_longest_queries() -> None:
    """Every depth is really scored, rising on one query and falling on the next, the longest first."""
    scorer = Scripted({})
    timings = time_depths(name_systems(scorer)[0], animals(), (1, 4), 2, no_progress)
    assert [timing and timing.queries for timing in timings] == [2, 2]
    assert [pair.query for pair in scorer.asked] == ["blue whale sea"] * 5 + ["red fox"] * 4
    whale, dog, fox = (CORPUS[key] for key in ("whale", "dog", "fox"))
    assert [pair.text for pair in scorer.asked[:2]] == [whale, whale]
    assert [pair.text for pair in scorer.asked[5:]] == [dog, CORPUS["moon"], fox, dog]


def test_degraded_passes_stay_out_of_the_median() -> None:
    """A failed query is fast: it is counted, and isn't timed."""
    broken = System("broken", Reranker(Failing()), EVERYTHING, Selection())
    assert time_depths(broken, animals(), (2,), 3, no_progress) == [Timing(None, queries=0, degraded=3)]
    timing = timing_of([0.001, None, 0.003, 0.2])
    assert math.isclose(timing.median_ms or 0, 3.0)
    assert (timing.queries, timing.degraded) == (3, 1)
