"""Filters: candidates that can't be ranked, that are probably irrelevant, or that are already there."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from secondpass.candidates import Candidate
from secondpass.errors import InputError, check_list
from secondpass.ranking import Dropped, Ranked, Ranking, Reason
from secondpass.scores import Unscored, UnscoredReason
from secondpass.selection.adaptive import Adaptive

Results = Ranking | Iterable[Any]
"""A ranking, of which the kept count, or candidates, their records, or their ids; in integrations also their items."""

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
        if isinstance(item.outcome, Unscored) and item.outcome.reason in _UNRANKED:
            result.dropped.append(drop(item, _UNRANKED[item.outcome.reason], item.outcome.detail))
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


def filter_adaptive(ranked: Sequence[Ranked], rule: Adaptive | None, min_keep: int) -> FilterResult:
    """Drop candidates below the value that a rule finds in the scores; those without a score have none and pass.

    :param ranked: Candidates, best first.
    :param rule: The rule; None drops nothing.
    :param min_keep: Let the best so many pass in any case.
    """
    probabilities = all(item.probability is not None for item in ranked if item.score is not None)
    values = [item.probability if probabilities else item.score for item in ranked]
    known = sorted((value for value in values if value is not None), reverse=True)
    cutoff = rule.cutoff(known, probabilities=probabilities) if rule and known else None
    if cutoff is None:
        return FilterResult(list(ranked), [])
    result = FilterResult([], [])
    for position, (item, value) in enumerate(zip(ranked, values, strict=True)):
        if position < min_keep or value is None or value >= cutoff.value:
            result.passed.append(item)
        else:
            name = "probability" if probabilities else "score"
            result.dropped.append(drop(item, Reason.BELOW_THRESHOLD, f"{name} {value:.4f}; {cutoff.detail}"))
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


def as_excluded(results: Results, convert: Callable[[Any], Any] = lambda item: item) -> tuple[Candidate | str, ...]:
    """Return earlier results in any form as candidates, or as ids where these were given.

    :param results: A ranking, or candidates, their records, or ids.
    :param convert: From an integration's document or node to a candidate; other items stay as they are.
    :raises InputError: If they are no list, or an item has another type.
    """
    check_list(results, "exclude must be a Ranking or a list", refused=())
    return tuple(map(_candidate_or_id, map(convert, results)))


def _candidate_or_id(item: object) -> Candidate | str:
    if isinstance(item, Ranked):
        return item.candidate
    if isinstance(item, Candidate | str):
        return item
    raise InputError(
        f"exclude must be a Ranking, or a list of candidates or their ids; got {type(item).__name__}: {item!r:.80}"
    )


def filter_excluded(ranked: Sequence[Ranked], exclude: Sequence[Candidate | str], near: float | None) -> FilterResult:
    """Drop candidates that are among earlier ones: by id or text for the LLM, and by similarity where it is given.

    :param ranked: Candidates, best first.
    :param exclude: The earlier candidates, or ids.
    :param near: The similarity from which a text is the same, as in ``PackingSequence``; None compares exactly.
    """
    if not exclude:
        return FilterResult(list(ranked), [])
    earlier = [item for item in exclude if isinstance(item, Candidate)]
    ids = {item: None for item in exclude if isinstance(item, str)} | {item.id: item for item in earlier if item.id}
    same = {item.reading.strip(): item for item in earlier}
    similar = _similar(ranked, earlier, near) if near is not None and earlier else {}
    result = FilterResult([], [])
    for position, item in enumerate(ranked):
        text = item.candidate.reading.strip()
        if item.candidate.id is not None and item.candidate.id in ids:
            result.dropped.append(drop(item, Reason.EXCLUDED, "the same id", ids[item.candidate.id]))
        elif text in same:
            result.dropped.append(drop(item, Reason.EXCLUDED, "the same text", same[text]))
        elif position in similar:
            similarity, original = similar[position]
            result.dropped.append(drop(item, Reason.EXCLUDED, f"similarity {similarity:.2f}", original))
        else:
            result.passed.append(item)
    return result


def _similar(ranked: Sequence[Ranked], earlier: Sequence[Candidate], near: float) -> dict[int, tuple[float, Candidate]]:
    """Return the positions of candidates that are near-duplicates of earlier ones, with the nearest of these."""
    from secondpass.selection.shingles import Shingles  # loads numpy

    shingles = Shingles([*(item.candidate.reading for item in ranked), *(item.reading for item in earlier)])
    found: dict[int, tuple[float, Candidate]] = {}
    for index, original in enumerate(earlier, start=len(ranked)):
        for position, similarity in shingles.duplicates(index, near):
            if position < len(ranked) and similarity > found.get(position, (0.0,))[0]:
                found[position] = (similarity, original)
    return found


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
