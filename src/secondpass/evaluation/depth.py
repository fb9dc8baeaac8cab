"""The depth curve: what reading more candidates gains, and what it costs."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from secondpass.candidates import Candidate
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.systems import EVERYTHING, Pass, System, ids_by_rank
from secondpass.reranker import Reranker
from secondpass.scores import Call, Pair, Score, Scored, Spec, Unscored
from secondpass.scoring.protocol import BaseScorer


class Replay(BaseScorer):
    """Gives texts the outcomes that another scorer gave them before, so that nothing is scored twice.

    :param by: The other scorer.
    :param known: From a text to its outcomes, one for each time that the candidates held it, in their order.
    """

    def __init__(self, by: Spec, known: Mapping[str, Sequence[Score | Unscored]]) -> None:
        self._by = by
        self._known = known

    @property
    def spec(self) -> Spec:
        """What is known of the other scorer."""
        return self._by

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:  # noqa: ARG002  # takes no time
        """Return what each text was given before, whatever the query."""
        seen: Counter[str] = Counter()
        outcomes = []
        for pair in pairs:
            outcomes.append(self._known[pair.text][seen[pair.text]])
            seen[pair.text] += 1
        return Scored(tuple(outcomes), self._by)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count words: nobody asks a replay for a model's tokens."""
        return [len(text.split()) for text in texts]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long reranking took at one depth.

    :param median_ms: The median of the whole passes; None where there was none.
    :param passes: How many passes that is the median of.
    :param degraded: How many were degraded, and are not in the median.
    """

    median_ms: float | None
    passes: int
    degraded: int


def depths_within(collection: Collection, depths: Sequence[int]) -> tuple[int, ...]:
    """Return the depths that the run has, or the depth that it has where all are beyond it."""
    deepest = max((len(found) for found in collection.run.values()), default=0)
    within = tuple(depth for depth in depths if depth <= deepest)
    return within or ((deepest,) if deepest and depths else ())


def order_at(system: System, done: Pass, candidates: Sequence[Candidate], depth: int) -> tuple[str, ...]:
    """Return the order had only the first ``depth`` candidates been reranked, the rest following as they were.

    The scores are those of the pass over all candidates (which those of fewer can differ from, where a model isn't
    batch-invariant); fusion is computed anew, since it looks at its whole input.
    The system's own top-k, threshold and budget stay out of it: the curve is about the order.
    """
    head = candidates[:depth]
    known: dict[str, list[Score | Unscored]] = {}
    for item in sorted(done.judged, key=lambda item: item.rank_before):
        known.setdefault(item.candidate.text, []).append(item.outcome)
    replayed = Reranker(Replay(system.reranker.scorer.spec, known), fusion=system.reranker.fusion, selection=EVERYTHING)
    ranked = replayed.rerank(done.ranking.query, head).kept
    return (*ids_by_rank(ranked), *(str(candidate.id) for candidate in candidates[depth:]))


def time_depths(
    system: System, collection: Collection, depths: Sequence[int], timed: int
) -> Iterator[list[float | None]]:
    """Rerank a sample of queries at each depth, and return each query's seconds; None stands for a degraded pass.

    The depths take turns: rising on one query and falling on the next, so that a processor that warms up or slows
    down favours none of them. Queries with enough candidates for the greatest depth come first.
    """
    by_length = sorted(collection.queries, key=lambda query: -min(len(collection.run[query]), max(depths)))
    for turn, query in enumerate(by_length[:timed]):
        seconds: dict[int, float | None] = {}
        for depth in depths if turn % 2 == 0 else depths[::-1]:
            started = time.perf_counter()
            ranking = system.reranker.rerank(
                collection.queries[query], collection.run[query][:depth], selection=EVERYTHING
            )
            seconds[depth] = None if ranking.degraded else time.perf_counter() - started
        yield [seconds[depth] for depth in depths]


def timings(rows: Sequence[Sequence[float | None]], depths: Sequence[int]) -> list[Timing]:
    """Return the median of each depth over the queries that were timed."""
    columns = [[row[position] for row in rows] for position in range(len(depths))]
    whole = [[seconds * 1000 for seconds in column if seconds is not None] for column in columns]
    return [Timing(statistics.median(ms) if ms else None, len(ms), len(rows) - len(ms)) for ms in whole]
