"""The depth curve: quality gained and time spent by reranking more candidates."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secondpass.evaluation.collection import Collection
from secondpass.evaluation.measures import Interval, Measures, Values, means
from secondpass.evaluation.settings import Progress, Settings
from secondpass.evaluation.systems import EVERYTHING, QueryResult, System, full_order
from secondpass.records import Call, Candidate, Pair, Score, Scored, Spec, Unscored
from secondpass.reranker import Reranker
from secondpass.scoring.scorer import BaseScorer


@dataclass(frozen=True, slots=True)
class Timing:
    """The median time of reranking at one depth.

    :param median_ms: The median in milliseconds, without degraded queries; None where all were.
    :param queries: The queries behind it.
    :param degraded: The queries that were degraded.
    """

    median_ms: float | None
    queries: int
    degraded: int


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """Quality at one depth, the rest following in first-stage order, and the time of reranking to it.

    :param depth: How many candidates are reranked; 0 is the first stage.
    :param quality: The mean of each measure.
    :param gain: The mean minus the first stage's, for each measure.
    :param timing: The milliseconds; None where none were measured.
    """

    depth: int
    quality: Mapping[str, Interval]
    gain: Mapping[str, float]
    timing: Timing | None


class Replay(BaseScorer):
    """A scorer that replays stored scores for the first texts of a query."""

    def __init__(self, spec: Spec, outcomes: Sequence[Score | Unscored]) -> None:
        self.spec = spec
        self._outcomes = outcomes

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:  # noqa: ARG002  # takes no time
        """Return the first outcomes, one for each pair."""
        return Scored(tuple(self._outcomes[: len(pairs)]), self.spec)


def values_by_depth(
    system: System,
    results: Sequence[QueryResult],
    collection: Collection,
    measures: Measures,
    depths: Sequence[int],
) -> dict[int, Values]:
    """Return each measure's values at depth 0, the first stage, and at others, from the results' scores."""
    values: dict[int, Values] = {}
    for depth in (0, *depths_within(collection, depths)) if depths else ():
        orders = {result.query: order_at(system, result, collection.run[result.query], depth) for result in results}
        values[depth] = measures.per_query(orders)
    return values


def depth_curve(
    system: System,
    values: Mapping[int, Values],
    collection: Collection,
    settings: Settings,
    progress: Progress,
) -> tuple[DepthPoint, ...]:
    """Return quality, from ``values_by_depth``, and milliseconds, which are measured."""
    depths = [depth for depth in values if depth]
    timings = time_depths(system, collection, depths, settings.timed_queries, progress) if depths else []
    points: list[DepthPoint] = []
    for (depth, by_measure), timing in zip(values.items(), (None, *timings) if values else (), strict=True):
        quality = means(by_measure, settings.sampling)
        first = points[0].quality if points else quality
        gain = {name: mean.mean - first[name].mean for name, mean in quality.items()}
        points.append(DepthPoint(depth, quality, gain, timing))
    return tuple(points)


def depths_within(collection: Collection, depths: Sequence[int]) -> tuple[int, ...]:
    """Return the depths up to the run's length, or that length where all are beyond it."""
    longest = max(map(len, collection.run.values()))
    within = tuple(depth for depth in depths if depth <= longest)
    return within or ((longest,) if longest and depths else ())


def order_at(system: System, result: QueryResult, candidates: Sequence[Candidate], depth: int) -> tuple[str, ...]:
    """Return the order had only the first ``depth`` candidates been reranked, the rest following in their order.

    The scores are those of all candidates together (from which those of fewer can differ, where a model isn't
    batch-invariant); fusion is computed anew, since it reads all of its input. The system's own top-k, threshold and
    budget stay out of it: the curve is about the order.
    """
    by_rank = sorted(result.candidates, key=lambda item: item.rank_before)
    readable = [item.outcome for item in by_rank if item.candidate.text.strip()]  # blank texts aren't scored
    replay = Replay(system.reranker.scorer.spec, readable)
    reranker = Reranker(replay, fusion=system.reranker.fusion, selection=EVERYTHING)
    head = reranker.rerank(result.ranking.query, candidates[:depth])
    return (*full_order(head), *(str(candidate.id) for candidate in candidates[depth:]))


def time_depths(
    system: System, collection: Collection, depths: Sequence[int], queries: int, progress: Progress
) -> list[Timing | None]:
    """Rerank a sample of queries at each depth, and return each depth's timing; None where the sample is empty.

    The depths take turns: rising on one query and falling on the next, so that a processor that warms up or slows
    down favours none of them. Queries with enough candidates for the greatest depth come first.
    """
    sample = sorted(collection.queries, key=lambda query: -min(len(collection.run[query]), max(depths)))[:queries]
    seconds: dict[int, list[float | None]] = {depth: [] for depth in depths}
    for turn, query in enumerate(sample):
        for depth in depths if turn % 2 == 0 else depths[::-1]:
            candidates = collection.run[query][:depth]
            started = time.perf_counter()
            ranking = system.reranker.rerank(collection.queries[query], candidates, selection=EVERYTHING)
            seconds[depth].append(None if ranking.degraded else time.perf_counter() - started)
        progress(f"timing {system.name}", turn + 1, len(sample))
    return [timing_of(seconds[depth]) if sample else None for depth in depths]


def timing_of(seconds: Sequence[float | None]) -> Timing:
    """Return the median over queries; None stands for a degraded one."""
    complete = [value * 1000 for value in seconds if value is not None]
    return Timing(statistics.median(complete) if complete else None, len(complete), len(seconds) - len(complete))
