"""The systems under evaluation, their results for each query, and what those cost."""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from secondpass.errors import ConfigurationError
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Progress
from secondpass.ranking import Kept, Ranked, Ranking, Reason
from secondpass.records import Stage, Unscored, UnscoredReason
from secondpass.reranker import Reranker
from secondpass.scoring.scorer import Scorer, warm_up
from secondpass.selection.select import Selection, select

FIRST_STAGE = "first stage"
"""The name in results of the order without a second pass."""
EVERYTHING = Selection(duplicates="keep")
"""Keeps everything that was ranked, in the order of relevance."""
SecondPass = Reranker | Scorer
"""A reranker with its own selection, or a scorer, whose whole order is measured."""


@dataclass(frozen=True, slots=True)
class System:
    """A second pass, with the selection whose order is measured, and the one that fills a context of any budget."""

    name: str
    reranker: Reranker
    selection: Selection
    context_selection: Selection


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query reranked by one system.

    :param query: The query's id.
    :param ranking: The ranking, with everything that was ranked kept.
    :param order: The ids that the system's own selection keeps, best first; of a bare scorer all, the pruned last.
    :param stages: Scoring, fusion, and the system's own selection.
    :param seconds: The wall-clock time of all of it.
    """

    query: str
    ranking: Ranking
    order: tuple[str, ...]
    stages: tuple[Stage, ...]
    seconds: float

    @property
    def candidates(self) -> tuple[Ranked, ...]:
        """Every candidate; those that were ranked come first, best first."""
        return (*self.ranking.kept, *self.ranking.dropped)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a query, over those not degraded: a failed call is fast, and would flatter the mean.

    Times include the selection; stages, tokens that the scorer read (None where it doesn't count them), and candidates
    are means.
    """

    queries: int
    median_ms: float | None = None
    mean_ms: float | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    tokens: float | None = None
    candidates: float | None = None


@dataclass(frozen=True, slots=True)
class Completeness:
    """How many queries there are, degraded ones by cause, candidates without a score by reason, and truncated ones."""

    queries: int
    degraded: Mapping[str, int]
    unscored: Mapping[str, int]
    truncated: int

    def problems(self) -> str:
        """Describe degraded queries and unscored candidates in one line; empty where there are none.

        What a cascade left out is no problem.
        """
        missing = {reason: count for reason, count in self.unscored.items() if reason != UnscoredReason.PRUNED}
        degraded = f"{sum(self.degraded.values())} of {self.queries} passes degraded"
        unscored = f"{sum(missing.values())} candidates without a score"
        return ", ".join(
            f"{text} ({', '.join(f'{name}: {count}' for name, count in counts.items())})"
            for text, counts in ((degraded, self.degraded), (unscored, missing))
            if counts
        )


def name_systems(given: SecondPass | Sequence[SecondPass] | Mapping[str, SecondPass]) -> tuple[System, ...]:
    """Give each second pass a name of its own: the caller's, or its model's, numbered where two are alike.

    :raises ConfigurationError: If there is none, one is neither a reranker nor a scorer, or a name is taken.
    """
    named = dict(given) if isinstance(given, Mapping) else {}
    if isinstance(given, str):
        raise ConfigurationError(f"what is evaluated must be a Reranker or a Scorer: load_scorer({given!r})")
    for item in given if isinstance(given, Sequence) else [] if isinstance(given, Mapping) else [given]:
        name = _model_name(item)
        alike = sum(other == name or other.startswith(f"{name} #") for other in named)
        named[f"{name} #{alike + 1}" if alike else name] = item
    if not named or FIRST_STAGE in named:
        raise ConfigurationError(
            f"give at least one reranker or scorer, under a name that isn't {FIRST_STAGE!r}; got {given!r:.80}"
        )
    return tuple(
        System(name, _with_its_scorer(item), item.selection, replace(item.selection, budget=None))
        if isinstance(item, Reranker)
        else System(name, Reranker(item), EVERYTHING, Selection())
        for name, item in named.items()
    )


def rerank_collection(system: System, collection: Collection, progress: Progress) -> list[QueryResult]:
    """Rerank every query's candidates, scoring them once, and apply the system's own selection.

    The model is loaded before the first query, so that no query's time includes it.

    :raises ScoringError: If scoring failed and the reranker's ``on_error`` is ``"raise"``.
    """
    warm_up(system.reranker.scorer)
    results: list[QueryResult] = []
    for query, text in collection.queries.items():
        started = time.perf_counter()
        ranking = system.reranker.rerank(text, collection.run[query], selection=EVERYTHING)
        selecting = time.perf_counter()
        selected = select((*ranking.kept, *ranking.dropped), system.selection)
        ended = time.perf_counter()
        stages = (*ranking.stages[:-1], Stage("select", ended - selecting, selected.facts))
        order = full_order(ranking) if system.selection is EVERYTHING else ids_by_rank(selected.kept)
        results.append(QueryResult(query, ranking, order, stages, ended - started))
        progress(f"reranking with {system.name}", len(results), len(collection))
    return results


def ids_by_rank(kept: Iterable[Kept]) -> tuple[str, ...]:
    """Return the ids of the kept in the order of relevance, whatever the order of reading."""
    return tuple(str(item.candidate.id) for item in sorted(kept, key=lambda item: item.rank))


def full_order(ranking: Ranking) -> tuple[str, ...]:
    """Return the ids of all that was ranked, best first: behind the kept what a cascade pruned."""
    pruned = (str(item.candidate.id) for item in ranking.dropped if item.reason is Reason.PRUNED)
    return (*ids_by_rank(ranking.kept), *pruned)


def cost_of(results: Sequence[QueryResult]) -> Cost:
    """Return the cost of the queries that had something to score and weren't degraded."""
    complete = [result for result in results if not result.ranking.degraded and result.candidates]
    if not complete:
        return Cost(0)
    milliseconds = [result.seconds * 1000 for result in complete]
    stages: defaultdict[str, float] = defaultdict(float)
    for stage in (stage for result in complete for stage in result.stages):
        stages[stage.name] += stage.seconds * 1000 / len(complete)
    counts = [[stage.facts["tokens"] for stage in r.stages[:-1] if "tokens" in stage.facts] for r in complete]
    tokens = [sum(count for count in of_query if isinstance(count, int)) for of_query in counts]
    return Cost(
        queries=len(complete),
        median_ms=statistics.median(milliseconds),
        mean_ms=statistics.fmean(milliseconds),
        stages_ms=dict(stages),
        tokens=statistics.fmean(tokens) if all(counts) else None,
        candidates=statistics.fmean(len(result.candidates) for result in complete),
    )


def completeness_of(results: Sequence[QueryResult]) -> Completeness:
    """Count the degraded queries, and the candidates without a score."""
    candidates = [item for result in results for item in result.candidates]
    degraded = Counter(str(result.ranking.degraded.cause) for result in results if result.ranking.degraded)
    unscored = Counter(str(item.outcome.reason) for item in candidates if isinstance(item.outcome, Unscored))
    truncated = sum(item.truncated > 0 for item in candidates)
    return Completeness(len(results), dict(degraded), dict(unscored), truncated)


def _with_its_scorer(item: Reranker) -> Reranker:
    """Return a reranker that scores what its own selection needs, although it is called with another one."""
    item = copy(item)
    item.scorer = item.scorer_for(item.selection)
    return item


def _model_name(item: SecondPass) -> str:
    if isinstance(item, Reranker):
        return item.scorer.spec.name + (f" + {type(item.fusion).__name__}" if item.fusion else "")
    if not hasattr(item, "score_pairs"):
        raise ConfigurationError(f"what is evaluated must be a Reranker or a Scorer, got {item!r:.80}")
    return item.spec.name
