"""``rerank_many``: a stream of queries, batches filled across them, bounded memory."""

import math
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from worlds import Failing, Scripted, texts

from secondpass import Call, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.ranking import Cause
from secondpass.records import LOGIT, Spec, Unscored, UnscoredReason
from secondpass.scorers.cascade import Cascade
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Encoded

STREAM = [("red fox", ["blue", "red fox"]), ("dog", []), ("", ["x"]), ("cat", ["a cat", "", "dog"])]

requests = st.lists(
    st.tuples(
        st.sampled_from(["red fox", "dog", " "]), st.lists(st.sampled_from(["red", "fox dog", "", "x"]), max_size=4)
    ),
    max_size=8,
)


@given(stream=requests, at_once=st.integers(1, 9))
def test_many_are_as_one_by_one(stream: list[tuple[str, list[str]]], at_once: int) -> None:
    """Each ranking is that of ``rerank``, in the order of the requests, whatever is scored together."""
    reranker = Reranker(OverlapScorer(), selection=Selection(top_n=2))
    many = list(reranker.rerank_many(iter(stream), pairs_at_once=at_once))
    single = [reranker.rerank(query, candidates) for query, candidates in stream]
    assert [(r.query, texts(r), r.dropped, r.degraded) for r in many] == [
        (r.query, texts(r), r.dropped, r.degraded) for r in single
    ]


def test_batches_are_filled_across_queries() -> None:
    """Four queries with one candidate each are one batch of four."""
    engine = FakeEngine(rows=4)
    rankings = list(Reranker(CrossEncoder(engine)).rerank_many((f"query {n}", ["w " * (n + 1)]) for n in range(4)))
    assert engine.batches == [[4, 3, 2, 1]]
    assert [ranking[0].score for ranking in rankings] == [1.0, 2.0, 3.0, 4.0]
    assert [ranking.stages[0].facts["queries"] for ranking in rankings] == [4] * 4


def test_a_cascade_prunes_each_query() -> None:
    """With a cascade, ``keep`` counts for each query, although their pairs are scored together."""
    cascade = Cascade(Scripted({"a": 1.0}), Scripted({}), keep=1)
    rankings = list(Reranker(cascade).rerank_many([("one", ["b", "a"]), ("two", ["a", "c"])]))
    assert [texts(ranking) for ranking in rankings] == [["a"], ["a"]]


def test_a_query_that_comes_twice_is_pruned_twice() -> None:
    """Two requests with one query don't compete: each keeps its own best, as ``rerank`` would."""
    cascade = Cascade(Scripted({"a": 2.0, "c": 1.0}), Scripted({}), keep=1)
    stream = [("one", ["b", "a"]), ("one", ["d", "c"]), ("two", ["a"])]
    assert [texts(ranking) for ranking in Reranker(cascade).rerank_many(stream)] == [["a"], ["c"], ["a"]]


def test_a_query_without_a_finite_score_is_marked_and_the_others_arent() -> None:
    """NaN for all candidates of one query is that query's failure, as in ``rerank``."""
    reranker = Reranker(Scripted({"bad": math.nan, "worse": math.nan, "good": 1.0}))
    stream = [("one", ["bad", "worse"]), ("two", ["other", "good"])]
    bad, good = reranker.rerank_many(stream)
    single = reranker.rerank("one", ["bad", "worse"])
    assert str(bad.degraded) == "scorer failed: scripted gave no finite score for any of 2 candidates"
    assert (texts(bad), bad.dropped, bad.degraded) == (texts(single), single.dropped, single.degraded)
    assert (texts(good), good.degraded) == (["good", "other"], None)
    with pytest.raises(ScoringError, match="no finite score"):
        list(Reranker(reranker.scorer, on_error="raise").rerank_many(stream))


def test_a_deadline_counts_before_nan() -> None:
    """Where a query has an invalid candidate and others that the deadline left out, the cause is the deadline."""
    late = Scripted({"bad": math.nan, "late": Unscored(UnscoredReason.DEADLINE)})
    for ranking in (
        Reranker(late).rerank("one", ["bad", "late"]),
        *Reranker(late).rerank_many([("q", ["bad", "late"])]),
    ):
        assert ranking.degraded is not None
        assert ranking.degraded.cause is Cause.DEADLINE
        assert (texts(ranking), texts(ranking.dropped)) == (["late"], ["bad"])


def test_a_model_that_depends_on_the_batch_scores_each_query_alone() -> None:
    """Where scores depend on the batch, queries don't share one."""
    engine = FakeEngine()
    object.__setattr__(engine.facts, "spec", Spec("dynamic", LOGIT, "dynamic", batch_invariant=False))
    list(Reranker(CrossEncoder(engine)).rerank_many((f"query {n}", ["w"]) for n in range(3)))
    assert engine.batches == [[1]] * 3


def test_the_stream_is_read_as_it_is_scored() -> None:
    """Requests are taken as needed: with two pairs at once, the first ranking comes after the second request."""
    taken: list[int] = []

    def stream() -> Iterator[tuple[str, list[str]]]:
        for number in range(10):
            taken.append(number)
            yield "fox", ["fox"]

    rankings = Reranker(OverlapScorer()).rerank_many(stream(), pairs_at_once=2)
    next(rankings)
    assert taken == [0, 1]


class Forgetful(FakeEngine):
    """Keeps no record of its batches."""

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        rows = super().forward(batch)
        self.batches.clear()
        return rows


def test_memory_does_not_grow_with_the_stream() -> None:
    """Ten times the pairs take the same memory at their peak, but for some percent."""

    def peak(queries: int) -> int:
        stream = ((f"query {n}", [f"{n} {i} " + "word " * 20 for i in range(50)]) for n in range(queries))
        reranker = Reranker(CrossEncoder(Forgetful(rows=64)), selection=Selection(top_n=5))
        tracemalloc.start()
        for _ in reranker.rerank_many(stream, pairs_at_once=1000):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)  # what is imported on first use
    assert peak(400) < 1.1 * peak(40)


def test_progress_is_reported() -> None:
    """The callback gets the queries and candidates done, after each group."""
    done: list[tuple[int, int]] = []
    list(Reranker(OverlapScorer()).rerank_many(STREAM, pairs_at_once=2, progress=lambda *now: done.append(now)))
    assert done == [(1, 2), (4, 6)]


def test_a_failure_degrades_the_queries_that_were_scored_together() -> None:
    """A scorer that fails gives the first stage's order for all of them, marked, or raises on request."""
    rankings = list(Reranker(Failing()).rerank_many([("a", ["x", "y"]), ("b", ["z"])]))
    assert [(texts(r), r.degraded and r.degraded.cause) for r in rankings] == [
        (["x", "y"], Cause.SCORER_FAILED),
        (["z"], Cause.SCORER_FAILED),
    ]
    with pytest.raises(ScoringError):
        list(Reranker(Failing(), on_error="raise").rerank_many([("a", ["x"])]))


def test_cancelling_stops_scoring() -> None:
    """A cancelled call gives the rest of the stream in first-stage order, marked."""
    call = Call()
    call.cancel()
    (ranking,) = Reranker(OverlapScorer()).rerank_many([("fox", ["dog", "fox"])], call=call)
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.CANCELLED


def test_invalid_input_is_refused() -> None:
    """A query that isn't a string, and a size below 1, are errors."""
    with pytest.raises(InputError, match="the query must be a string"):
        list(Reranker(OverlapScorer()).rerank_many([(3, ["x"])]))  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="pairs_at_once must be a whole number from 1"):
        list(Reranker(OverlapScorer()).rerank_many([], pairs_at_once=0))


def test_a_warm_up_in_the_background_says_when_it_is_done() -> None:
    """``ready`` turns true once the model has run."""
    engine = FakeEngine()
    reranker = Reranker(CrossEncoder(engine))
    assert not reranker.ready
    reranker.warmup(background=True)
    while not reranker.ready:
        pass
    assert engine.batches == [[1]]
