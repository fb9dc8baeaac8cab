"""The curve of answers refused against answers wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from secondpass.errors import InputError


@dataclass(frozen=True, slots=True)
class RefusalPoint:
    """What refusing below a threshold gives.

    :param threshold: Questions below it are refused.
    :param refused: The share of all questions that is refused.
    :param wrong: The share of the answered questions whose kept candidates hold no answer.
    :param lost: The share of the answerable questions that is refused.
    """

    threshold: float
    refused: float
    wrong: float
    lost: float


def refusal_curve(probabilities: Sequence[float], answered: Sequence[bool]) -> list[RefusalPoint]:
    """Return the curve of answers refused against answers wrong, a point for each threshold, from none refused.

    El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR 2010 (risk and coverage).

    :param probabilities: Of each question, that it is answered.
    :param answered: Whether it is.
    :raises InputError: If the lists are empty, or their lengths differ.
    """
    if not probabilities or len(probabilities) != len(answered):
        raise InputError(f"there must be a probability for each label, got {len(probabilities)} for {len(answered)}")
    pairs = sorted(zip(probabilities, map(bool, answered), strict=True))
    right = sum(answered)
    points = []
    for place, (threshold, _) in enumerate(pairs):
        if place and pairs[place - 1][0] == threshold:
            continue
        kept = [label for _, label in pairs[place:]]
        lost = right - sum(kept)
        points.append(
            RefusalPoint(threshold, place / len(pairs), 1 - sum(kept) / len(kept), lost / right if right else 0.0)
        )
    return points


def mean_wrong(curve: Sequence[RefusalPoint]) -> float:
    """Return the area under the curve: the mean share of wrong answers, over all shares refused; lower is better."""
    ends = [*(point.refused for point in curve[1:]), 1.0]
    return sum(point.wrong * (end - point.refused) for point, end in zip(curve, ends, strict=True))
