"""What records answer: why a document wasn't used, what is dropped often, drift, degraded calls."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

PERCENTILES = (50, 95, 99)
_BINS = 10
_FLOOR = 1e-4  # the smallest share of a bin, whose logarithm is taken


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
    """Return how far scores since a moment differ from earlier ones, for models with both.

    ``ks`` is the two-sample Kolmogorov-Smirnov statistic, the largest distance between both
    distribution functions. ``psi`` is the population stability index, ``sum((p - q) * ln(p / q))``
    over ten bins, the deciles of the earlier scores (q), with shares of at least 1e-4: by convention
    below 0.1 is stable, and above 0.25 a shift. ``scores`` is ``best`` for each call's highest score,
    ``all`` for every candidate's.
    """
    scores: defaultdict[tuple[str, str, str], tuple[array[float], array[float]]] = defaultdict(
        lambda: (array("d"), array("d"))
    )
    for record in records:
        values = [item["score"] for item in record.get("candidates", ()) if "score" in item]
        model = record.get("model") or "", record.get("fingerprint") or ""
        period = datetime.fromisoformat(record["time"]) >= boundary
        if values:
            scores[*model, "best"][period].append(max(values))
            scores[*model, "all"][period].extend(values)
    return [
        {
            **dict(zip(("model", "fingerprint", "scores"), key, strict=True)),
            "before": len(before),
            "after": len(after),
            "median_before": float(np.median(before)),
            "median_after": float(np.median(after)),
            "ks": kolmogorov_smirnov(before, after),
            "psi": stability_index(before, after),
        }
        for key, (before, after) in scores.items()
        if before and after
    ]


def kolmogorov_smirnov(old: ArrayLike, new: ArrayLike) -> float:
    """Return the largest distance between two samples' distribution functions, from 0 to 1."""
    first, second = np.sort(np.asarray(old)), np.sort(np.asarray(new))
    points = np.concatenate([first, second])
    below = [np.searchsorted(values, points, side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def stability_index(old: ArrayLike, new: ArrayLike) -> float:
    """Return the population stability index over the deciles of the first sample; 0 for equal shares."""
    edges = np.unique(np.quantile(np.asarray(old), np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) / len(values)
        for values in map(np.asarray, (old, new))
    ]
    q, p = (np.maximum(share, _FLOOR) for share in shares)
    return math.fsum((p - q) * np.log(p / q))
