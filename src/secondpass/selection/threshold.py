"""Dropping what the model holds for irrelevant, and what could not be judged at all."""

from collections.abc import Sequence

from secondpass.ranking import Dropped, Judged, Reason
from secondpass.scores import Unscored, UnscoredReason
from secondpass.selection.outcome import Split, drop

_NEVER_RANKED = {UnscoredReason.INVALID: Reason.INVALID, UnscoredReason.PRUNED: Reason.PRUNED}


def split_unranked(judged: Sequence[Judged]) -> Split:
    """Drop what has no valid score and never will; what a deadline or a failure left unscored stays."""
    stay: list[Judged] = []
    dropped: list[Dropped] = []
    for item in judged:
        if isinstance(item.outcome, Unscored) and item.outcome.reason in _NEVER_RANKED:
            dropped.append(drop(item, _NEVER_RANKED[item.outcome.reason], item.outcome.detail))
        else:
            stay.append(item)
    return Split(stay, dropped)


def split_threshold(judged: Sequence[Judged], min_probability: float | None, min_keep: int) -> Split:
    """Drop candidates whose probability is below the threshold, but leave the ``min_keep`` best in any case.

    Candidates without a score have no probability to compare, and stay.
    """
    if min_probability is None:
        return Split(list(judged), [])
    stay: list[Judged] = []
    dropped: list[Dropped] = []
    for position, item in enumerate(judged):
        if position < min_keep or item.probability is None or item.probability >= min_probability:
            stay.append(item)
        else:
            detail = f"probability {item.probability:.4f} < {min_probability:g}"
            dropped.append(drop(item, Reason.BELOW_THRESHOLD, detail))
    return Split(stay, dropped)
