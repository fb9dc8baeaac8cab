"""How far probabilities hold on labelled pairs, and thresholds for a wanted precision or recall."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve

from secondpass.calibration import Calibration
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation.calibrate import Floats, Labelled
from secondpass.evaluation.measures import Interval
from secondpass.evaluation.settings import Sampling

_DEFAULT_SAMPLING = Sampling()
_DRAWN = 2**20  # questions drawn together


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs whose probabilities are in one range: how many, their mean probability, and the share that is relevant."""

    low: float
    high: float
    pairs: int
    probability: float
    relevant: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far probabilities hold, for a reliability diagram.

    :param bins: The bins that hold a pair, in rising order.
    :param ece: The expected calibration error: the mean distance of probability and share, weighted by pairs.
    :param brier: The Brier score: the mean squared distance of probability and label.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: float
    brier: float


def reliability(probabilities: Sequence[float] | Floats, labels: Sequence[bool], bins: int = 10) -> Reliability:
    """Return how far probabilities hold, in bins of equal width.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    :raises InputError: If there is none, the lists' lengths differ, a probability isn't in 0..1, or a label not 0 or 1.
    :raises ConfigurationError: If the number of bins isn't from 1.
    """
    if not isinstance(bins, int) or bins < 1:
        raise ConfigurationError(f"bins must be a whole number from 1, got {bins!r}")
    ps, ys = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if not len(ps) or len(ps) != len(ys) or not ((ps >= 0) & (ps <= 1) & ((ys == 0) | (ys == 1))).all():
        raise InputError(f"there must be a probability from 0 to 1 for each label, 0 or 1: {len(ps)} for {len(ys)}")
    places = np.minimum((ps * bins).astype(int), bins - 1)
    filled = [
        ReliabilityBin(place / bins, (place + 1) / bins, int(at.sum()), float(ps[at].mean()), float(ys[at].mean()))
        for place, at in ((place, places == place) for place in range(bins))
        if at.any()
    ]
    ece = sum(item.pairs * abs(item.probability - item.relevant) for item in filled) / len(ps)
    return Reliability(tuple(filled), float(ece), float(((ps - ys) ** 2).mean()))


@dataclass(frozen=True, slots=True)
class Threshold:
    """A minimum probability, and what it gives on the pairs that it was chosen on.

    :param probability: For ``min_probability``.
    :param precision: The share of the pairs at or above it that is relevant, with its interval.
    :param recall: The share of the relevant pairs that is at or above it, with its interval.
    """

    probability: float
    precision: Interval
    recall: Interval


def choose_threshold(
    labelled: Labelled,
    calibration: Calibration | None = None,
    *,
    precision: float | None = None,
    recall: float | None = None,
    sampling: Sampling = _DEFAULT_SAMPLING,
) -> Threshold:
    """Choose the lowest threshold with this precision, or the highest with this recall.

    The intervals are bootstrapped over questions, whose pairs belong together.

    :param labelled: The pairs.
    :param calibration: That of the scorer; None takes the scale's own probabilities.
    :param precision: The wanted precision; give this or ``recall``.
    :param recall: The wanted recall.
    :param sampling: How the intervals are sampled.
    :raises ConfigurationError: If not one of them is given, it isn't in 0..1, or no threshold reaches it.
    """
    wanted = precision if recall is None else recall
    if (precision is None) == (recall is None) or wanted is None or not 0 < wanted <= 1:
        raise ConfigurationError(f"give precision or recall, from 0 to 1, got {precision!r} and {recall!r}")
    ps = labelled.probabilities(labelled.spec.calibrated(calibration))
    precisions, recalls, thresholds = precision_recall_curve(np.asarray(labelled.labels, dtype=bool), ps)  # rising
    found = thresholds[(precisions if recall is None else recalls)[:-1] >= wanted]
    if not len(found):
        raise ConfigurationError(f"no threshold reaches a precision of {wanted:g} on {len(ps)} pairs: ask for less")
    return _threshold(labelled, ps, float(found[0 if recall is None else -1]), sampling)


def precision_recall_at(labelled: Labelled, threshold: float, calibration: Calibration | None = None) -> Threshold:
    """Return precision and recall of a given threshold, as on held-out questions.

    :raises ConfigurationError: If no pair is at or above it.
    """
    ps = labelled.probabilities(labelled.spec.calibrated(calibration))
    if not (ps >= threshold).any():
        raise ConfigurationError(f"no pair has a probability of {threshold:g} or more")
    return _threshold(labelled, ps, threshold, _DEFAULT_SAMPLING)


def _threshold(labelled: Labelled, ps: Floats, threshold: float, sampling: Sampling) -> Threshold:
    """Return a threshold with its precision and recall, whose intervals are by resampling questions."""
    taken, ys = (ps >= threshold).astype(np.float64), np.asarray(labelled.labels, dtype=np.float64)
    places: dict[str, int] = {}
    of = [places.setdefault(question, len(places)) for question in labelled.questions]
    hits, takes, relevant = (np.bincount(of, weights=column).astype(np.float64) for column in (taken * ys, taken, ys))
    return Threshold(threshold, _ratio(hits, takes, sampling), _ratio(hits, relevant, sampling))


def _ratio(parts: Floats, wholes: Floats, sampling: Sampling) -> Interval:
    """Return the ratio of two sums over questions, with its interval; the resamples are drawn in small batches."""
    mean, questions = float(parts.sum() / wholes.sum()), len(parts)
    if questions < 2:
        return Interval(mean, None, None)
    rng = np.random.default_rng(sampling.seed)
    ratios: list[float] = []
    step = max(1, _DRAWN // questions)
    for done in range(0, sampling.resamples, step):
        drawn = rng.integers(questions, size=(min(step, sampling.resamples - done), questions), dtype=np.int32)
        totals = wholes[drawn].sum(axis=1)
        ratios += (parts[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]).tolist()
    low, high = np.quantile(ratios, [(1 - sampling.confidence) / 2, (1 + sampling.confidence) / 2])
    return Interval(mean, float(low), float(high))
