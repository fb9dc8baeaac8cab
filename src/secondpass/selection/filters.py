"""Filters: candidates that can't be ranked, that are probably irrelevant, or that were kept before.

What makes two candidates the same is decided here too, by ``identity`` alone.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from secondpass.errors import InputError, check_list
from secondpass.ranking import Dropped, Ranked, Ranking, Reason
from secondpass.records import Candidate, Unscored, UnscoredReason
from secondpass.selection.adaptive import Adaptive
from secondpass.selection.budget import ContextBudget

Results = Ranking | Iterable[Any]
"""A ranking, of which the kept count, or candidates, their records, or their ids; in integrations also their items."""

SAME = "the same text"
"""The detail of a copy."""

_UNRANKED = {UnscoredReason.INVALID: Reason.INVALID, UnscoredReason.PRUNED: Reason.PRUNED}


class Identity(NamedTuple):
    """What makes two candidates the same: all that the LLM reads of them, and all that the scorer reads.

    Copies are equal in both fields, near-duplicates in the frame.

    :param frame: What stands around the body: template and metadata in the prompt, fields in the scored text.
    :param body: The text that is compared by its words.
    """

    frame: tuple[str, ...]
    body: str


def identity(candidate: Candidate, budget: ContextBudget | None) -> Identity:
    """Return what makes a candidate the same as another; outer whitespace of the parts makes no difference.

    :param candidate: The candidate. What isn't text alone, such as an image, is the same as what has its id.
    :param budget: The budget, whose template says what the LLM reads; None where it reads the text alone.
    """
    reading = candidate.reading
    read = budget.render(1, candidate, reading) if budget else reading
    both = (read, candidate.text)
    own = (candidate.id or "",) if candidate.media else ()
    for body in (reading[candidate.header_length :].strip(), candidate.text.strip()):
        if body and all(body in text for text in both):
            return Identity((*own, *(part.strip() for text in both for part in text.split(body, 1))), body)
    return Identity(own, "\n".join(text.strip() for text in both))  # it can't be told apart from what is around it


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


def filter_threshold(ranked: Sequence[Ranked], min_probability: float | None, safe: Collection[int]) -> FilterResult:
    """Drop candidates below a probability; those without a score have none and pass.

    :param ranked: Candidates, best first.
    :param min_probability: The threshold; None drops nothing.
    :param safe: The first-stage ranks of those that pass in any case.
    """
    if min_probability is None:
        return FilterResult(list(ranked), [])
    result = FilterResult([], [])
    for item in ranked:
        if item.rank_before in safe or item.probability is None or item.probability >= min_probability:
            result.passed.append(item)
        else:
            detail = f"probability {item.probability:.4f} < {min_probability:g}"
            result.dropped.append(drop(item, Reason.BELOW_THRESHOLD, detail))
    return result


def filter_adaptive(
    ranked: Sequence[Ranked], rule: Adaptive | None, safe: Collection[int], copies: Collection[int] = ()
) -> FilterResult:
    """Drop candidates below the value that a rule finds in the scores; those without a score have none and pass.

    :param ranked: Candidates, best first.
    :param rule: The rule; None drops nothing.
    :param safe: The first-stage ranks of those that pass in any case.
    :param copies: The first-stage ranks of those whose scores the rule isn't given.
    """
    probabilities = all(item.probability is not None for item in ranked if item.score is not None)
    values = [item.probability if probabilities else item.score for item in ranked]
    known = [
        value
        for item, value in zip(ranked, values, strict=True)
        if value is not None and item.rank_before not in copies
    ]
    cutoff = rule.cutoff(sorted(known, reverse=True), probabilities=probabilities) if rule and known else None
    if cutoff is None:
        return FilterResult(list(ranked), [])
    result = FilterResult([], [])
    for item, value in zip(ranked, values, strict=True):
        if item.rank_before in safe or value is None or value >= cutoff.value:
            result.passed.append(item)
        else:
            name = "probability" if probabilities else "score"
            result.dropped.append(drop(item, Reason.BELOW_THRESHOLD, f"{name} {value:.4f}; {cutoff.detail}"))
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


def filter_excluded(
    ranked: Sequence[Ranked],
    exclude: Sequence[Candidate | str],
    near: float | None,
    budget: ContextBudget | None = None,
) -> FilterResult:
    """Drop candidates that are among earlier ones: by id or identity, and by similarity where it is given.

    :param ranked: Candidates, best first.
    :param exclude: The earlier candidates, or ids.
    :param near: The similarity from which a text is the same, as in ``PackingSequence``; None compares exactly.
    :param budget: The budget, whose template says what the LLM reads.
    """
    if not exclude:
        return FilterResult(list(ranked), [])
    earlier = [item for item in exclude if isinstance(item, Candidate)]
    ids = {item: None for item in exclude if isinstance(item, str)} | {item.id: item for item in earlier if item.id}
    identities = [identity(item.candidate, budget) for item in ranked]
    same = {identity(item, budget): item for item in earlier}
    similar = _similar(identities, list(same), near) if near is not None and earlier else {}
    result = FilterResult([], [])
    for position, (item, own) in enumerate(zip(ranked, identities, strict=True)):
        if item.candidate.id is not None and item.candidate.id in ids:
            result.dropped.append(drop(item, Reason.EXCLUDED, "the same id", ids[item.candidate.id]))
        elif own in same:
            result.dropped.append(drop(item, Reason.EXCLUDED, SAME, same[own]))
        elif position in similar:
            similarity, original = similar[position]
            result.dropped.append(drop(item, Reason.EXCLUDED, f"similarity {similarity:.2f}", same[original]))
        else:
            result.passed.append(item)
    return result


def _similar(new: Sequence[Identity], earlier: Sequence[Identity], near: float) -> dict[int, tuple[float, Identity]]:
    """Return the positions of what is a near-duplicate of something earlier, with the nearest of that."""
    from secondpass.selection.similarity import Shingles  # loads numpy

    both = [*new, *earlier]
    shingles = Shingles([item.body for item in both], [item.frame for item in both])
    found: dict[int, tuple[float, Identity]] = {}
    for index, original in enumerate(earlier, start=len(new)):
        for position, similarity in shingles.duplicates(index, near):
            if position < len(new) and similarity > found.get(position, (0.0,))[0]:
                found[position] = (similarity, original)
    return found


def drop(ranked: Ranked, reason: Reason, detail: str = "", because_of: Candidate | None = None) -> Dropped:
    """Return the record of a dropped candidate."""
    return Dropped(*ranked.common(), reason=reason, because_of=because_of, detail=detail)
