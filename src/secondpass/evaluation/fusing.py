"""Fitting of a learned fusion on judged questions."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from secondpass.errors import ConfigurationError
from secondpass.evaluation.calibrate import question_scores
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Progress
from secondpass.fusion import FusionInput, LearnedFusion, fusion_features
from secondpass.scoring.scorer import Scorer

_LEAST = 10  # questions with a relevant and another candidate


def fit_fusion(
    scorer: Scorer,
    collection: Collection,
    *,
    signals: Sequence[str] = (),
    relevant_from: int = 1,
    progress: Progress | None = None,
) -> LearnedFusion:
    """Fit a fusion on pairs of a relevant and another candidate of one question, by logistic regression.

    Each question has the same weight, however many pairs it has. Joachims, "Optimizing search engines using
    clickthrough data", KDD 2002, with the logistic loss.

    :param scorer: The scorer.
    :param collection: Judged questions; what isn't judged counts as not relevant. Judge the fusion on others.
    :param signals: The candidates' signals that are features too.
    :param relevant_from: The lowest grade that is relevant.
    :param progress: Called with the work, what is done and the total.
    :raises ConfigurationError: If too few questions have a relevant and another candidate, or no candidate a signal.
    :raises ScoringError: If a candidate got no score.
    """
    rows, shares, questions = [], [], 0
    scores = question_scores(scorer, collection, progress)
    for (query, run), values in zip(collection.run.items(), scores, strict=True):
        inputs = [FusionInput(item, value, rank) for rank, (item, value) in enumerate(zip(run, values, strict=True), 1)]
        matrix = np.array(fusion_features(inputs, signals)) if inputs else np.zeros((0, 0))
        grades = collection.qrels.get(query, {})
        right = np.array([grades.get(str(item.id), 0) >= relevant_from for item in run], dtype=bool)
        if right.any() and not right.all():
            differences = (matrix[right][:, None] - matrix[~right][None]).reshape(-1, matrix.shape[1])
            rows.append(differences)
            shares.append(np.full(len(differences), 1 / len(differences)))
            questions += 1
    if questions < _LEAST:
        raise ConfigurationError(
            f"at least {_LEAST} questions must have a relevant candidate and another one, got {questions}: give more"
        )
    above, weight = np.concatenate(rows), np.concatenate(shares)
    scale = np.where(above.std(axis=0) > 0, above.std(axis=0), 1.0)
    scaled = above / scale
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    model.fit(  # both signs of each pair: logistic regression needs two classes
        np.concatenate([scaled, -scaled]),
        np.repeat([1, 0], len(scaled)),
        sample_weight=np.concatenate([weight, weight]),
    )
    weights = tuple(float(value) for value in model.coef_[0] / scale)
    return LearnedFusion(scorer.spec.calibrated_as, weights, tuple(signals), questions)
