"""What an audit file answers: why a document wasn't used, what is dropped again and again, drift, degraded calls."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
        {"time": record["time"], "query": record.get("query", record.get("query_hash")), **_fate(record, candidate)}
        for record in records
        if not wanted or wanted in str(record.get("query", "")).casefold()
        for candidate in record.get("candidates", ())
        if document in (candidate.get("id"), candidate.get("source"), candidate.get("text_hash"))
    ]


def _fate(record: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "rank_before", "rank", "first_stage_score", "score", "probability", "reason", "detail", "because_of")
    fate = {name: candidate[name] for name in names if name in candidate}
    lowest = min((item["score"] for item in record["candidates"] if "rank" in item and "score" in item), default=None)
    facts = {
        "kept": "rank" in candidate,
        "lowest_kept_score": lowest,
        "degraded": (record.get("degraded") or {}).get("cause"),
        "settings": record.get("settings") or None,
    }
    return fate | {name: fact for name, fact in facts.items() if fact is not None}


@dataclass(slots=True)
class Summary:
    """What the records of a period say together.

    :param calls: How many there are.
    :param failed: How many of these raised.
    :param first: The time of the first.
    :param last: The time of the last.
    :param degraded: How many are degraded, by cause.
    :param reasons: How many candidates were dropped, by reason.
    :param candidates: How many candidates there were.
    """

    calls: int = 0
    failed: int = 0
    first: str | None = None
    last: str | None = None
    degraded: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    _seconds: defaultdict[str, "array[float]"] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    _dropped: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _kept: Counter[str] = field(default_factory=Counter)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record."""
        self.calls += 1
        self.failed += "error" in record
        self.first, self.last = min(self.first or record["time"], record["time"]), record["time"]
        if record.get("degraded"):
            self.degraded[record["degraded"]["cause"]] += 1
        if record.get("seconds") is not None:
            self._seconds["call"].append(record["seconds"])
        for stage in record.get("stages", ()):
            self._seconds[stage["name"]].append(stage["seconds"])
        for candidate in record.get("candidates", ()):
            self._add_candidate(candidate)

    def _add_candidate(self, candidate: Mapping[str, Any]) -> None:
        self.candidates += 1
        name = str(candidate.get("id") or candidate.get("text_hash"))
        if "reason" not in candidate:
            self._kept[name] += 1
            return
        self.reasons[candidate["reason"]] += 1
        self._dropped[name][candidate["reason"]] += 1

    def stages(self) -> dict[str, dict[str, float]]:
        """Return the milliseconds of each stage, and of the whole call: their number, and p50, p95 and p99."""
        return {
            name: {"calls": len(seconds)}
            | {
                f"p{percent}": round(float(value) * 1000, 3)
                for percent, value in zip(PERCENTILES, np.percentile(seconds, PERCENTILES), strict=True)
            }
            for name, seconds in self._seconds.items()
        }

    def dropped(self, most: int) -> list[dict[str, Any]]:
        """Return the documents that were dropped in two calls or more, most often first.

        :param most: How many of them.
        """
        often = sorted(self._dropped.items(), key=lambda entry: (-entry[1].total(), entry[0]))
        return [
            {"id": name, "dropped": reasons.total(), "kept": self._kept[name], "reasons": dict(reasons.most_common())}
            for name, reasons in often[:most]
            if reasons.total() > 1
        ]

    def to_dict(self, most: int = 10) -> dict[str, Any]:
        """Return plain data for ``json.dumps``."""
        return {
            "calls": self.calls,
            "failed": self.failed,
            "first": self.first,
            "last": self.last,
            "degraded": {"calls": self.degraded.total(), "causes": dict(self.degraded.most_common())},
            "stages_ms": self.stages(),
            "candidates": self.candidates,
            "reasons": dict(self.reasons.most_common()),
            "dropped_often": self.dropped(most),
        }


def drift(records: Iterable[dict[str, Any]], boundary: datetime) -> list[dict[str, Any]]:
    """Return how far the scores since a moment differ from those before it, for each model with scores in both periods.

    ``ks`` is the two-sample Kolmogorov-Smirnov statistic, the largest distance ``max |F1(x) - F2(x)|`` between both
    distribution functions. ``psi`` is the population stability index ``sum((p - q) * ln(p / q))`` over ten bins, the
    deciles of the earlier period (q), with shares of at least 1e-4; by convention below 0.1 is stable, and above 0.25 a
    shift. ``best`` is of each call's highest score, ``all`` of every candidate's.
    """
    scores: defaultdict[tuple[str, str], tuple[dict[str, array[float]], ...]] = defaultdict(
        lambda: tuple({"best": array("d"), "all": array("d")} for _ in range(2))
    )
    for record in records:
        values = [item["score"] for item in record.get("candidates", ()) if "score" in item]
        if values:
            period = scores[record.get("model") or "", record.get("fingerprint") or ""][
                datetime.fromisoformat(record["time"]) >= boundary
            ]
            period["best"].append(max(values))
            period["all"].extend(values)
    return [
        {"model": model, "fingerprint": fingerprint}
        | {name: _distance(before[name], after[name]) for name in ("best", "all")}
        for (model, fingerprint), (before, after) in scores.items()
        if before["all"] and after["all"]
    ]


def _distance(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    old, new = np.sort(np.asarray(before)), np.sort(np.asarray(after))
    return {
        "before": len(old),
        "after": len(new),
        "median_before": float(np.median(old)),
        "median_after": float(np.median(new)),
        "ks": kolmogorov_smirnov(old, new),
        "psi": stability_index(old, new),
    }


def kolmogorov_smirnov(old: ArrayLike, new: ArrayLike) -> float:
    """Return the largest distance between the distribution functions of two samples, from 0 to 1."""
    first, second = np.sort(np.asarray(old)), np.sort(np.asarray(new))
    points = np.concatenate([first, second])
    below = [np.searchsorted(values, points, side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def stability_index(old: ArrayLike, new: ArrayLike) -> float:
    """Return the population stability index of two samples over the deciles of the first; 0 for equal shares."""
    edges = np.unique(np.quantile(np.asarray(old), np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) / len(values)
        for values in map(np.asarray, (old, new))
    ]
    q, p = (np.maximum(share, _FLOOR) for share in shares)
    return math.fsum((p - q) * np.log(p / q))
