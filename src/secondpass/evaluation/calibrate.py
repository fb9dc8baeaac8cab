"""Labelled pairs, and calibrations fitted on them.

A ``Labelled`` set fits, another one judges: figures on the pairs that a calibration was fitted on flatter it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from sklearn.isotonic import IsotonicRegression

from secondpass.calibration import Calibration, Method
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Progress
from secondpass.records import Pair, Score, Spec
from secondpass.scoring.scorer import Scorer

Floats = NDArray[np.float64]
_LEAST = 10  # labelled pairs of each class
_LEAST_ISOTONIC = 1000


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scored pairs with labels.

    :param spec: The scorer's specification.
    :param values: The raw values.
    :param labels: Whether each pair is relevant.
    :param questions: The question of each pair, by any key; intervals are over questions.
    :raises InputError: If the lists have other lengths, or a value or label isn't one.
    :raises ConfigurationError: If a class has too few pairs.
    """

    spec: Spec
    values: Sequence[float]
    labels: Sequence[bool]
    questions: Sequence[str]

    def __post_init__(self) -> None:
        """Check the lists."""
        if not len(self.values) == len(self.labels) == len(self.questions):
            counts = (len(self.values), len(self.labels), len(self.questions))
            raise InputError(f"there must be a value, a label and a question for each pair, got {counts}")
        if not all(isinstance(value, (int, float, np.number)) and math.isfinite(value) for value in self.values):
            raise InputError("the raw values must be finite numbers: leave out what has no score")
        if wrong := [label for label in self.labels if label not in (0, 1)]:
            raise InputError(f"labels must be 0 or 1, got {wrong[0]!r}: choose the lowest grade that is relevant")
        relevant = sum(map(bool, self.labels))
        if min(relevant, len(self.labels) - relevant) < _LEAST:
            raise ConfigurationError(
                f"at least {_LEAST} relevant and {_LEAST} other pairs are needed, got {relevant} and "
                f"{len(self.labels) - relevant}: give more labelled questions"
            )

    def probabilities(self, spec: Spec | None = None) -> Floats:
        """Return each pair's probability, of the scorer's scale or of a calibrated one.

        :raises ConfigurationError: If the scale has none.
        """
        scale = (spec or self.spec).scale
        if not scale.has_probabilities:
            raise ConfigurationError(f"{self.spec.name} has no probabilities: calibrate it first")
        return np.array([scale.probability(value) for value in self.values], dtype=np.float64)


def question_scores(scorer: Scorer, collection: Collection, progress: Progress | None = None) -> list[list[float]]:
    """Return each question's scores, in the order of its candidates.

    :param scorer: The scorer.
    :param collection: The questions with their candidates; judgements aren't read.
    :param progress: Called with the work, what is done and the total.
    :raises ScoringError: If a candidate got no score.
    """
    scores = []
    for query, candidates in collection.run.items():
        outcomes = scorer.score_pairs([Pair(collection.queries[query], c.text) for c in candidates]).outcomes
        values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
        if len(values) != len(candidates):
            raise ScoringError(f"{scorer.spec.name} must score every candidate, and {query!r} has some without a score")
        scores.append(values)
        if progress:
            progress(f"scoring with {scorer.spec.name}", len(scores), len(collection))
    return scores


def label_pairs(
    scorer: Scorer, collection: Collection, *, relevant_from: int = 1, progress: Progress | None = None
) -> Labelled:
    """Score a collection's candidates, and label them by its judgements; what isn't judged counts as not relevant.

    :param scorer: The scorer.
    :param collection: Judged questions with their candidates. What share of these is relevant decides the
        probabilities, so take as many as the reranker will see.
    :param relevant_from: The lowest grade that is relevant.
    :param progress: Called with the work, what is done and the total.
    :raises ConfigurationError: If a class has too few pairs.
    :raises ScoringError: If a candidate got no score.
    """
    scores = question_scores(scorer, collection, progress)
    rows = [
        (value, collection.qrels.get(query, {}).get(str(item.id), 0) >= relevant_from, query)
        for (query, run), values in zip(collection.run.items(), scores, strict=True)
        for item, value in zip(run, values, strict=True)
    ]
    values, labels, questions = zip(*rows, strict=True) if rows else ((), (), ())
    return Labelled(scorer.spec, values, labels, questions)


def join_labelled(*sets: Labelled) -> Labelled:
    """Join sets of one scorer.

    :raises ConfigurationError: If the scorers differ.
    """
    if len({item.spec.calibrated_as for item in sets}) != 1:
        raise ConfigurationError(f"the pairs must be scored by one model, got {[item.spec.name for item in sets]}")
    questions = [f"{place}: {question}" for place, item in enumerate(sets) for question in item.questions]
    values, labels = ([x for item in sets for x in getattr(item, name)] for name in ("values", "labels"))
    return Labelled(sets[0].spec, values, labels, questions)


def fit_calibration(labelled: Labelled, method: Method = "platt") -> Calibration:
    """Fit a calibration on labelled pairs.

    All methods fit Platt's targets, ``(positives + 1) / (positives + 2)`` and ``1 / (negatives + 2)``, instead of 1 and
    0, so that few pairs, or pairs that a threshold parts, don't give certainty.

    :param labelled: The pairs, 10 of each class at least. A few hundred do for a temperature or for Platt scaling,
        which has two parameters; isotonic regression follows any rising curve, and takes a thousand at least.
    :param method: ``"temperature"``, ``"platt"`` or ``"isotonic"``.
    :raises ConfigurationError: If the method is unknown or has too few pairs, the scores are all alike, higher ones
        aren't more often relevant, or no temperature brings them nearer to the labels than 0.5 is.
    """
    if method not in get_args(Method):
        raise ConfigurationError(f"method must be one of {', '.join(get_args(Method))}; got {method!r}")
    xs = np.array([labelled.spec.scale.log_odds(value) for value in labelled.values], dtype=np.float64)
    relevant = np.asarray(labelled.labels, dtype=bool)
    if method == "isotonic" and len(xs) < _LEAST_ISOTONIC:
        raise ConfigurationError(f"isotonic regression needs {_LEAST_ISOTONIC} pairs, got {len(xs)}: fit by platt")
    targets = np.where(relevant, (relevant.sum() + 1) / (relevant.sum() + 2), 1 / ((~relevant).sum() + 2))
    slope, intercept = _logistic(xs, targets, float(xs.mean()))
    if not slope > 0:
        raise ConfigurationError(f"higher scores of {labelled.spec.name} must be more often relevant, and they aren't")
    record = Calibration("platt", labelled.spec.calibrated_as, slope, intercept, pairs=len(xs))
    if method == "platt":
        return record
    if method == "isotonic":
        return replace(record, method=method, slope=1.0, intercept=0.0, points=_isotonic(xs, targets))
    slope, _ = _logistic(xs, targets)
    if not slope > 0:
        raise ConfigurationError(f"no temperature fits {labelled.spec.name}, whose scores need an offset: fit by platt")
    return replace(record, method=method, slope=slope, intercept=0.0)


def _logistic(xs: Floats, targets: Floats, centre: float | None = None) -> tuple[float, float]:
    """Return the slope and the intercept of least log loss; without a centre through 0, without an intercept.

    :raises ConfigurationError: If the scores are all alike.
    """
    shifted = xs - (centre or 0.0)
    spread = float(np.sqrt((shifted**2).mean()))
    if not 1e-9 * np.abs(xs).max() < spread < math.inf:
        raise ConfigurationError(f"scores must differ to be calibrated, and all are near {xs[0]:g}")
    scaled = shifted / spread
    columns = np.column_stack([scaled] if centre is None else [scaled, np.ones_like(scaled)])

    def loss(weights: Floats) -> tuple[float, Floats]:
        zs = columns @ weights
        return float((np.logaddexp(0, zs) - targets * zs).mean()), (special.expit(zs) - targets) @ columns / len(zs)

    weights = optimize.minimize(loss, np.zeros(columns.shape[1]), jac=True, method="BFGS").x
    slope = float(weights[0]) / spread
    return slope, 0.0 if centre is None else float(weights[1]) - slope * centre


def _isotonic(xs: Floats, targets: Floats) -> tuple[tuple[float, float], ...]:
    model = IsotonicRegression(out_of_bounds="clip").fit(xs, targets)
    return tuple(zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True))
