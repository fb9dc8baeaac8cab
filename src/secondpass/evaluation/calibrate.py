"""Labelled pairs, and calibrations fitted on them.

A ``Labelled`` set fits, another one judges: figures on the pairs that a calibration was fitted on flatter it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from secondpass.calibration import Calibration, Method
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Progress
from secondpass.scores import Pair, Score, Spec
from secondpass.scoring.scorer import Scorer

Floats = NDArray[np.float64]
_LEAST = 10  # labelled pairs of each class


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
        if not np.isfinite(np.asarray(self.values, dtype=np.float64)).all():
            raise InputError("the raw values must be finite: leave out what has no score")
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

    :param labelled: The pairs. A few hundred do for a temperature or for Platt scaling, which has two parameters;
        isotonic regression follows any rising curve, and takes a thousand.
    :param method: ``"temperature"``, ``"platt"`` or ``"isotonic"``.
    :raises ConfigurationError: If higher values aren't more often relevant, or the method is unknown.
    """
    xs = np.array([labelled.spec.scale.log_odds(value) for value in labelled.values], dtype=np.float64)
    ys = np.asarray(labelled.labels, dtype=np.float64)
    record = Calibration("platt", labelled.spec.calibrated_as, pairs=len(ys))
    if method == "temperature":
        slope, intercept = _temperature(xs, ys), 0.0
    elif method == "platt":
        model = LogisticRegression(C=1e6).fit(xs[:, None], ys)
        slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    else:
        slope, intercept = float(stats.spearmanr(xs, ys).statistic), 0.0
    if not slope > 0:
        raise ConfigurationError(f"higher scores of {labelled.spec.name} must be more often relevant, and they aren't")
    points = _isotonic(xs, ys) if method == "isotonic" else ()
    slope = 1.0 if method == "isotonic" else slope
    return replace(record, method=method, slope=slope, intercept=intercept, points=points)


def _temperature(xs: Floats, ys: Floats) -> float:
    def loss(log_slope: float) -> float:
        zs = np.exp(log_slope) * xs
        return float((np.logaddexp(0, zs) - ys * zs).mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-6, 6), method="bounded").x))


def _isotonic(xs: Floats, ys: Floats) -> tuple[tuple[float, float], ...]:
    model = IsotonicRegression(out_of_bounds="clip").fit(xs, ys)
    points = zip(model.X_thresholds_, model.y_thresholds_, strict=True)
    return tuple((float(x), min(1.0, max(0.0, float(y)))) for x, y in points)
