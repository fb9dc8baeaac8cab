"""Filters: candidates that can't be ranked, that are probably irrelevant, or whose text is already there."""

from collections.abc import Sequence
from typing import NamedTuple

from secondpass.candidates import Candidate
from secondpass.ranking import Dropped, Ranked, Reason
from secondpass.scores import Unscored, UnscoredReason

_UNRANKED = {UnscoredReason.INVALID: Reason.INVALID, UnscoredReason.PRUNED: Reason.PRUNED}


class FilterResult(NamedTuple):
    """The candidates that pass a filter, and those that it drops; both best first."""

    passed: list[Ranked]
    dropped: list[Dropped]


def filter_unranked(ranked: Sequence[Ranked]) -> FilterResult:
    """Drop candidates whose score is invalid, and those that a cascade pruned.

    Candidates that a deadline or a failure of the scorer left without a score pass.
    """
    result = FilterResult([], [])
    for item in ranked:
        reason = _UNRANKED.get(item.outcome.reason) if isinstance(item.outcome, Unscored) else None
        if reason and isinstance(item.outcome, Unscored):
            result.dropped.append(drop(item, reason, item.outcome.detail))
        else:
            result.passed.append(item)
    return result


def filter_threshold(ranked: Sequence[Ranked], min_probability: float | None, min_keep: int) -> FilterResult:
    """Drop candidates below a probability; those without a score have none and pass.

    :param ranked: Candidates, best first.
    :param min_probability: The threshold; None drops nothing.
    :param min_keep: Let the best so many pass in any case.
    """
    if min_probability is None:
        return FilterResult(list(ranked), [])
    result = FilterResult([], [])
    for position, item in enumerate(ranked):
        if position < min_keep or item.probability is None or item.probability >= min_probability:
            result.passed.append(item)
        else:
            detail = f"probability {item.probability:.4f} < {min_probability:g}"
            result.dropped.append(drop(item, Reason.BELOW_THRESHOLD, detail))
    return result


def filter_surplus(ranked: Sequence[Ranked], max_unscored: int | None) -> FilterResult:
    """Drop candidates without a score beyond the first so many; None drops nothing."""
    result = FilterResult([], [])
    unscored = 0
    for item in ranked:
        unscored += item.score is None
        if max_unscored is None or item.score is not None or unscored <= max_unscored:
            result.passed.append(item)
        else:
            result.dropped.append(drop(item, Reason.OVER_TOP_K, f"at most {max_unscored} candidates without a score"))
    return result


def filter_duplicates(ranked: Sequence[Ranked]) -> FilterResult:
    """Drop candidates whose text for the LLM (metadata included) equals a better one's, ignoring outer whitespace."""
    first: dict[str, Candidate] = {}
    result = FilterResult([], [])
    for item in ranked:
        key = item.candidate.reading.strip()
        if key in first:
            result.dropped.append(drop(item, Reason.DUPLICATE, "the same text", because_of=first[key]))
        else:
            first[key] = item.candidate
            result.passed.append(item)
    return result


def drop(ranked: Ranked, reason: Reason, detail: str = "", because_of: Candidate | None = None) -> Dropped:
    """Return the record of a dropped candidate."""
    return Dropped(
        ranked.candidate,
        ranked.index,
        ranked.outcome,
        ranked.probability,
        ranked.fused,
        ranked.rank_before,
        reason=reason,
        because_of=because_of,
        detail=detail,
    )
