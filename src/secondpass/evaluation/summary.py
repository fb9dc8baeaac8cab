"""What the passes of one system cost, and how they went."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from secondpass.evaluation.results import Cost, Passes, Whole
from secondpass.evaluation.systems import Pass

_Values = Mapping[str, Mapping[str, float]]


def cost_of(passes: Sequence[Pass]) -> Cost:
    """Return what a pass cost, over those that had something to score and weren't degraded."""
    whole = [done for done in passes if not done.ranking.degraded and done.judged]
    if not whole:
        return Cost(0, None, None, {}, None, None)
    milliseconds = [done.seconds * 1000 for done in whole]
    stages: defaultdict[str, float] = defaultdict(float)
    for stage in (stage for done in whole for stage in done.stages):
        stages[stage.name] += stage.seconds * 1000 / len(whole)
    tokens = [done.tokens for done in whole if done.tokens is not None]
    return Cost(
        passes=len(whole),
        median_ms=statistics.median(milliseconds),
        mean_ms=statistics.mean(milliseconds),
        stages_ms=dict(stages),
        tokens=statistics.mean(tokens) if len(tokens) == len(whole) else None,
        candidates=statistics.mean(len(done.judged) for done in whole),
    )


def passes_of(passes: Sequence[Pass]) -> Passes:
    """Count the degraded passes, and the candidates without a score."""
    return Passes(
        queries=len(passes),
        degraded=Counter(str(done.ranking.degraded.cause) for done in passes if done.ranking.degraded),
        unscored=Counter(str(outcome.reason) for done in passes for outcome in done.unscored),
        truncated=sum(item.truncated > 0 for done in passes for item in done.judged),
    )


def whole_only(passes: Sequence[Pass], before: _Values, after: _Values) -> tuple[Whole, ...]:
    """Return each measure over the queries whose pass wasn't degraded, if some passes were and some weren't."""
    degraded = {done.query for done in passes if done.ranking.degraded}
    found = []
    for measure, values in before.items() if degraded else ():
        kept = [query for query in values if query not in degraded]
        if kept:
            means = [statistics.fmean(side[measure][query] for query in kept) for side in (before, after)]
            found.append(Whole(measure, len(kept), *means))
    return tuple(found)
