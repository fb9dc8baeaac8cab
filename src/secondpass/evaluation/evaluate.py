"""The evaluation: results of every system, their measures, differences and curves."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from secondpass.evaluation.collection import Collection
from secondpass.evaluation.context import Contexts
from secondpass.evaluation.depth import depth_curve, values_by_depth
from secondpass.evaluation.measures import DEFAULT_MEASURES, Measures, Values, compare, means
from secondpass.evaluation.results import (
    Difference,
    Evaluation,
    MeanWithoutDegraded,
    SystemResult,
    judged_scores,
    most_changed,
)
from secondpass.evaluation.settings import DEFAULT_SETTINGS, Progress, Sampling, Settings
from secondpass.evaluation.systems import (
    FIRST_STAGE,
    QueryResult,
    SecondPass,
    System,
    completeness_of,
    cost_of,
    name_systems,
    rerank_collection,
)
from secondpass.evaluation.verdict import judge


def evaluate(
    rerankers: SecondPass | Sequence[SecondPass] | Mapping[str, SecondPass],
    collection: Collection,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    settings: Settings = DEFAULT_SETTINGS,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare the first stage with each second pass: quality, cost, depth, answers in context, and changed queries.

    Each system scores each query's candidates once; the curves come from those scores, and only the depth curve's
    milliseconds are measured apart. A ``Reranker`` is measured with its own selection: what its top-k or threshold
    drops doesn't count, nor what a cascade in it prunes. A bare scorer is measured on its whole order, in which the
    pruned follow the scored.

    :param rerankers: One second pass or several; a mapping names them.
    :param collection: From ``read_beir``, ``read_trec``, ``read_squad`` or ``collect_candidates``.
    :param measures: In ir_measures' notation; the first decides which queries were won and lost. A collection with
        answers alone has no values of any.
    :param settings: Everything else that is computed.
    :param progress: Called after each query.
    :raises ConfigurationError: If a measure or setting can't work.
    :raises ScoringError: If scoring failed and a reranker's ``on_error`` is ``"raise"``.
    """
    systems = name_systems(rerankers)
    progress = progress or (lambda *_: None)
    measured = Measures(measures, collection.qrels)
    contexts = Contexts(collection, settings)
    results = {system.name: rerank_collection(system, collection, progress) for system in systems}
    orders = {FIRST_STAGE: {query: [str(item.id) for item in run] for query, run in collection.run.items()}}
    orders |= {name: {result.query: [*result.order] for result in ranked} for name, ranked in results.items()}
    values = {name: measured.per_query(order) for name, order in orders.items()}

    def result(system: System) -> SystemResult:
        own, before, after = results[system.name], values[FIRST_STAGE], values[system.name]
        first = measured.names[0] if measured.names else None  # a collection with answers alone has no measure
        depths = values_by_depth(system, own, collection, measured, settings.depths)
        won, lost = most_changed(collection, own, before[first], after[first], settings) if first else ((), ())
        return SystemResult(
            name=system.name,
            fingerprint=system.reranker.scorer.spec.fingerprint,
            quality=means(after, settings.sampling),
            cost=cost_of(own),
            completeness=completeness_of(own),
            without_degraded=tuple(_without_degraded(own, before, after)),
            depths=depth_curve(system, depths, collection, settings, progress),
            contexts=contexts.curve(system, own),
            won=won,
            lost=lost,
            scores=judged_scores(collection, own),
            verdict=judge(system, own, measured, (before, after), depths, settings) if first else None,
        )

    return Evaluation(
        collection=collection.name,
        queries=len(collection),
        judged=len(collection.qrels),
        context_queries=len(contexts),
        context_target="answer" if collection.answers else "relevant item",
        notes=collection.notes,
        measures=measured.names,
        settings=settings.to_dict(),
        first_stage=means(values[FIRST_STAGE], settings.sampling),
        systems=tuple(map(result, systems)),
        differences=tuple(_differences(values, settings.sampling)),
        per_query=values,
    )


def _differences(values: Mapping[str, Values], sampling: Sampling) -> Iterator[Difference]:
    """Compare every pair of systems, the first stage among them, on each measure."""
    for before, after in combinations(values, 2):
        for measure, by_query in values[before].items():
            comparison = compare([*by_query.values()], [*values[after][measure].values()], sampling)
            yield Difference(before, after, measure, comparison)


def _without_degraded(results: Sequence[QueryResult], before: Values, after: Values) -> Iterator[MeanWithoutDegraded]:
    """Return each measure over the queries that weren't degraded, if some were and some weren't."""
    degraded = {result.query for result in results if result.ranking.degraded}
    for measure, values in before.items() if degraded else ():
        if kept := [query for query in values if query not in degraded]:
            first, second = (statistics.fmean(side[measure][query] for query in kept) for side in (before, after))
            yield MeanWithoutDegraded(measure, len(kept), first, second)
