"""What records answer: why a document wasn't used, what is dropped often, drift, degraded calls."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from secondpass.errors import require

PERCENTILES = (50, 95, 99)
_LEAST = 20  # calls in each period
_SHIFT = 0.01  # the p-value of a shift


def fates(records: Iterable[dict[str, Any]], document: str, query: str | None = None) -> list[dict[str, Any]]:
    """Return what became of a document in each call that had it among its candidates.

    :param records: The records.
    :param document: Its id, its source, or its text's hash.
    :param query: Only calls whose query holds this, in any case.
    """
    wanted = query and query.casefold()
    return [
        _fate(record, candidate)
        for record in records
        if not wanted or wanted in str(record.get("query", "")).casefold()
        for candidate in record.get("candidates", ())
        if document in (candidate.get("id"), candidate.get("source"), candidate.get("text_hash"))
    ]


def _fate(record: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    kept = [item["score"] for item in record["candidates"] if "rank" in item and "score" in item]
    call = {
        "time": record["time"],
        "query": record.get("query", record.get("query_hash")),
        "lowest_kept_score": min(kept, default=None),
        "degraded": (record.get("degraded") or {}).get("cause"),
        "settings": record.get("settings") or None,
    }
    known = {name: fact for name, fact in call.items() if fact is not None}
    return known | {**candidate, "kept": "rank" in candidate}


def summary(records: Iterable[dict[str, Any]], most: int = 10) -> dict[str, Any]:
    """Return counts of failed and degraded calls, milliseconds of each stage, and what is dropped.

    :param records: The records, oldest first.
    :param most: How many of the documents that were dropped in two calls or more, most often first.
    """
    times, failed = [], 0
    causes, reasons, kept = Counter[str](), Counter[str](), Counter[str]()
    dropped: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seconds: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for record in records:
        times.append(record["time"])
        failed += "error" in record
        causes.update([record["degraded"]["cause"]] if record.get("degraded") else ())
        for stage in ({"name": "call", "seconds": record.get("seconds")}, *record.get("stages", ())):
            if stage["seconds"] is not None:
                seconds[stage["name"]].append(stage["seconds"])
        for candidate in record.get("candidates", ()):
            name = str(candidate.get("id") or candidate.get("text_hash"))
            if "reason" in candidate:
                reasons[candidate["reason"]] += 1
                dropped[name][candidate["reason"]] += 1
            else:
                kept[name] += 1
    often = sorted(dropped.items(), key=lambda entry: (-entry[1].total(), entry[0]))[:most]
    return {
        "calls": len(times),
        "failed": failed,
        "first": min(times, default=None),
        "last": max(times, default=None),
        "degraded": {"calls": causes.total(), "causes": dict(causes.most_common())},
        "stages_ms": {name: _percentiles(values) for name, values in seconds.items()},
        "candidates": kept.total() + reasons.total(),
        "reasons": dict(reasons.most_common()),
        "dropped_often": [
            {"id": name, "dropped": counts.total(), "kept": kept[name], "reasons": dict(counts.most_common())}
            for name, counts in often
            if counts.total() > 1
        ],
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    milliseconds = (1000 * np.percentile(seconds, PERCENTILES)).round(3).tolist()
    return {"calls": len(seconds)} | {f"p{rank}": value for rank, value in zip(PERCENTILES, milliseconds, strict=True)}


def drift(records: Iterable[dict[str, Any]], boundary: datetime) -> list[dict[str, Any]]:
    """Return whether each call's best score since a moment differs from earlier ones, for models with both.

    ``ks`` is the two-sample Kolmogorov-Smirnov statistic, the largest distance between both distribution functions,
    ``p_value`` that of its test, ``finding`` what it says: a shift is a p-value below 0.01, since a monitor is read
    often. Below 20 calls in a period both are None. One score of each call, because the scores of one call depend on
    each other.

    :raises MissingExtra: If scipy isn't installed, which is in the extra ``eval``.
    """
    require("drift", "eval", "scipy")
    from scipy.stats import ks_2samp

    scores: defaultdict[tuple[str, str], tuple[array[float], array[float]]] = defaultdict(
        lambda: (array("d"), array("d"))
    )
    for record in records:
        values = [item["score"] for item in record.get("candidates", ()) if "score" in item]
        scorer = record.get("model") or "", record.get("fingerprint") or ""
        if values:
            scores[scorer][datetime.fromisoformat(record["time"]) >= boundary].append(max(values))
    rows = []
    for (name, fingerprint), (before, after) in scores.items():
        if before and after:
            enough = min(len(before), len(after)) >= _LEAST
            test = ks_2samp(before, after) if enough else None
            rows.append(
                {
                    "model": name,
                    "fingerprint": fingerprint,
                    "before": len(before),
                    "after": len(after),
                    "median_before": float(np.median(before)),
                    "median_after": float(np.median(after)),
                    "ks": test and float(test.statistic),
                    "p_value": test and float(test.pvalue),
                    "finding": "too few" if not test else "shift" if test.pvalue < _SHIFT else "no shift shown",
                }
            )
    return rows
