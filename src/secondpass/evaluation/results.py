"""The result of an evaluation, and the queries that a second pass changed most."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from secondpass.evaluation.collection import Collection
from secondpass.evaluation.context import ContextPoint
from secondpass.evaluation.depth import DepthPoint
from secondpass.evaluation.measures import Comparison, Interval
from secondpass.evaluation.settings import Settings
from secondpass.evaluation.systems import Completeness, Cost, QueryResult
from secondpass.evaluation.verdict import Verdict

_TOP = 10  # moves that begin and end below this rank explain little


@dataclass(frozen=True, slots=True)
class CandidateMove:
    """A candidate whose rank (from 1) changed; ``after`` is None where it was dropped; with the text's beginning."""

    id: str
    before: int
    after: int | None
    grade: int | None
    score: float | None
    text: str


@dataclass(frozen=True, slots=True)
class QueryChange:
    """A query whose value of the first measure changed, with the candidates whose moves weigh most."""

    query: str
    text: str
    before: float
    after: float
    moves: tuple[CandidateMove, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two systems compared on one measure, over the same queries: ``after`` minus ``before``."""

    before: str
    after: str
    measure: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class MeanWithoutDegraded:
    """A measure's means without and with the second pass, over the queries that weren't degraded."""

    measure: str
    queries: int
    before: float
    after: float


class JudgedScore(NamedTuple):
    """A candidate's raw score, its probability (None on a scale without), and its grade (None where not judged)."""

    score: float
    probability: float | None
    grade: int | None


@dataclass(frozen=True, slots=True)
class SystemResult:
    """The result of one second pass.

    :param name: Its name.
    :param fingerprint: The scorer's fingerprint.
    :param quality: The mean of each measure over all judged queries, degraded ones among them.
    :param cost: The cost of a query.
    :param completeness: How many queries were degraded, and how many candidates have no score.
    :param without_degraded: The measures without the degraded queries; empty where there were none.
    :param depths: The depth curve, from 0; empty where it wasn't asked for.
    :param contexts: Answer in context, by budget; empty where it wasn't asked for.
    :param won: The queries that gained most on the first measure.
    :param lost: The queries that lost most on it.
    :param scores: The scores of all candidates of the judged queries; left out of ``Evaluation.to_dict``.
    :param verdict: Whether it helps, on the first measure; None without judgements.
    """

    name: str
    fingerprint: str
    quality: Mapping[str, Interval]
    cost: Cost
    completeness: Completeness
    without_degraded: tuple[MeanWithoutDegraded, ...]
    depths: tuple[DepthPoint, ...]
    contexts: tuple[ContextPoint, ...]
    won: tuple[QueryChange, ...]
    lost: tuple[QueryChange, ...]
    scores: tuple[JudgedScore, ...] = field(default=(), repr=False)
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A first stage without and with one or more second passes.

    :param collection: The collection's name.
    :param queries: The number of queries.
    :param judged: How many of them have judgements, and so values of the measures.
    :param context_queries: How many of them "answer in context" is computed on.
    :param context_target: What it looks for: ``"answer"`` or ``"relevant item"``.
    :param notes: The collection's notes.
    :param measures: The measures' names, in the caller's order.
    :param settings: The settings, as plain data.
    :param first_stage: The first stage's mean of each measure.
    :param systems: The second passes.
    :param differences: Every pair of systems, the first stage among them, on each measure.
    :param per_query: From a system's name to each measure's values by query id.
    """

    collection: str
    queries: int
    judged: int
    context_queries: int
    context_target: str
    notes: tuple[str, ...]
    measures: tuple[str, ...]
    settings: Mapping[str, Any]
    first_stage: Mapping[str, Interval]
    systems: tuple[SystemResult, ...]
    differences: tuple[Difference, ...]
    per_query: Mapping[str, Mapping[str, Mapping[str, float]]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: mappings, lists, strings and numbers."""
        without_scores = replace(self, systems=tuple(replace(system, scores=()) for system in self.systems))
        plain: dict[str, Any] = json.loads(json.dumps(asdict(without_scores)))
        for system in plain["systems"]:
            del system["scores"]
        return plain

    def to_markdown(self) -> str:
        """Return tables in Markdown: quality, differences, cost, curves, and the queries won and lost."""
        from secondpass.evaluation.markdown import as_markdown  # it reads this module's records

        return as_markdown(self)


def most_changed(
    collection: Collection,
    results: Sequence[QueryResult],
    before: Mapping[str, float],
    after: Mapping[str, float],
    settings: Settings,
) -> tuple[tuple[QueryChange, ...], tuple[QueryChange, ...]]:
    """Return the queries that gained most, and those that lost most, the greatest change first.

    :param results: One system's results.
    :param before: One measure's values without it, by query.
    :param after: The values with it.
    """
    by_query = {result.query: result for result in results}
    gains = sorted((after[query] - before[query], query) for query in before)
    won = [query for gain, query in reversed(gains) if gain > 0][: settings.listed_queries]
    lost = [query for gain, query in gains if gain < 0][: settings.listed_queries]

    def change(query: str) -> QueryChange:
        moves = _moves(by_query[query], collection.qrels[query])[: settings.listed_candidates]
        return QueryChange(query, collection.queries[query], before[query], after[query], tuple(moves))

    return tuple(map(change, won)), tuple(map(change, lost))


def judged_scores(collection: Collection, results: Iterable[QueryResult]) -> tuple[JudgedScore, ...]:
    """Return the scores of one system's candidates, of judged queries, with their grades."""
    return tuple(
        JudgedScore(item.score, item.probability, collection.qrels[result.query].get(str(item.candidate.id)))
        for result in results
        if result.query in collection.qrels
        for item in result.candidates
        if item.score is not None
    )


def _moves(result: QueryResult, grades: Mapping[str, int]) -> list[CandidateMove]:
    """Return the candidates that moved, those first whose discount of DCG changed most."""
    after = {key: rank for rank, key in enumerate(result.order, start=1)}
    moves = [
        CandidateMove(key, item.rank_before, after.get(key), grades.get(key), item.score, item.candidate.text[:200])
        for item, key in ((item, str(item.candidate.id)) for item in result.candidates)
        if item.rank_before != after.get(key) and min(item.rank_before, after.get(key, math.inf)) <= _TOP
    ]
    return sorted(moves, key=lambda move: (-abs(_discount(move.before) - _discount(move.after)), move.before))


def _discount(rank: int | None) -> float:
    """Return DCG's discount of a rank, ``1 / log2(1 + rank)``; 0 for a dropped candidate."""
    return 0.0 if rank is None else 1 / math.log2(1 + rank)
