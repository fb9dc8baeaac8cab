"""The two curves of a system: over the number of candidates, and over the context budget."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from secondpass.evaluation.collection import Collection
from secondpass.evaluation.context import Contexts, Filled
from secondpass.evaluation.depth import Timing, depths_within, order_at, time_depths, timings
from secondpass.evaluation.estimates import Interval, Sampling, compare, interval
from secondpass.evaluation.measures import Measures
from secondpass.evaluation.results import Contained, ContextPoint, DepthPoint
from secondpass.evaluation.settings import Settings
from secondpass.evaluation.systems import Pass, System

Tell = Callable[[str, int, int], None]


def means(values: Mapping[str, Mapping[str, float]], sampling: Sampling) -> dict[str, Interval]:
    """Return the mean of each measure with its interval."""
    return {name: interval(list(found.values()), sampling) for name, found in values.items()}


def depth_curve(
    system: System,
    passes: Sequence[Pass],
    collection: Collection,
    measures: Measures,
    settings: Settings,
    tell: Tell,
) -> tuple[DepthPoint, ...]:
    """Return quality and milliseconds at each depth, the first stage (depth 0) first.

    The quality comes from the passes' scores. The milliseconds are measured by really reranking a sample of queries.
    """
    depths = depths_within(collection, settings.depths)
    if not depths:
        return ()
    timed = min(settings.timed, len(collection))
    rows = []
    for row in time_depths(system, collection, depths, timed):
        rows.append(row)
        tell(f"timing {system.name}", len(rows), timed)
    times: list[Timing | None] = [None, *(timings(rows, depths) if rows else [None] * len(depths))]
    found: list[DepthPoint] = []
    for depth, timing in zip((0, *depths), times, strict=True):
        orders = {done.query: order_at(system, done, collection.run[done.query], depth) for done in passes}
        quality = means(measures.per_query(orders), settings.sampling)
        first = found[0].quality if found else quality
        gain = {name: mean.mean - first[name].mean for name, mean in quality.items()}
        found.append(DepthPoint(depth, quality, gain, timing))
    return tuple(found)


def context_curve(
    system: System, passes: Sequence[Pass], contexts: Contexts, plain: Mapping[int, Filled], sampling: Sampling
) -> tuple[ContextPoint, ...]:
    """Return how often the context holds the answer at each budget, without and with the second pass.

    :param plain: From a budget to what the first stage's top k came to, the same for every system.
    """
    found = []
    for budget, top in plain.items():
        second = contexts.second(budget, system, passes)
        rules = contexts.by_rules(budget, system.fills)
        gain = compare(top.hits, second.hits, sampling)
        sides = [_contained(filled, sampling) for filled in (top, rules, second)]
        found.append(ContextPoint(budget, sides[0], sides[1], sides[2], gain))
    return tuple(found)


def _contained(filled: Filled, sampling: Sampling) -> Contained:
    return Contained(interval(filled.hits, sampling), statistics.fmean(filled.tokens))
