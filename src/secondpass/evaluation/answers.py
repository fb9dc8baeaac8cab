"""Fitting of ``Ranking.answerable``."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from secondpass.calibration import Answerability, features
from secondpass.errors import ConfigurationError, InputError, checked
from secondpass.evaluation.calibrate import question_scores
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Progress
from secondpass.records import Spec
from secondpass.scoring.scorer import Scorer

KEPT = (1, 3, 5, 10)
_LEAST = 20  # questions of each kind


@dataclass(frozen=True, slots=True)
class AnswerCase:
    """The scores of one question's candidates, best first, as log-odds, and the places of the right ones.

    :param spec: The scorer's specification.
    :param scores: Falling log-odds.
    :param right: The positions of relevant candidates in it; empty where no candidate answers the question.
    """

    spec: Spec
    scores: tuple[float, ...]
    right: frozenset[int]

    def answered(self, kept: int) -> bool:
        """Return whether one of the best N is right."""
        return any(place < kept for place in self.right)


def answer_cases(
    scorer: Scorer, collection: Collection, *, relevant_from: int = 1, progress: Progress | None = None
) -> list[AnswerCase]:
    """Score a collection's candidates; ``drop_relevant`` leaves the right ones out of a collection.

    :raises ScoringError: If a candidate got no score.
    """
    cases = []
    scores = question_scores(scorer, collection, progress)
    for (query, run), values in zip(collection.run.items(), scores, strict=True):
        order = sorted(range(len(run)), key=lambda place, values=values: -values[place])  # type: ignore[misc]
        grades = collection.qrels.get(query, {})
        right = {rank for rank, at in enumerate(order) if grades.get(str(run[at].id), 0) >= relevant_from}
        odds = tuple(scorer.spec.scale.log_odds(values[at]) for at in order)
        cases.append(AnswerCase(scorer.spec, odds, frozenset(right)))
    return cases


def drop_relevant(collection: Collection, share: float = 0.5, seed: int = 0) -> Collection:
    """Return the collection with the relevant candidates taken out of a share of the questions, chosen at random.

    Rajpurkar, Jia and Liang, "Know what you don't know: unanswerable questions for SQuAD", ACL 2018, on why a system
    is also to be measured on questions that nothing answers.

    :raises ConfigurationError: If the share isn't within 0..1.
    """
    if not 0 <= share <= 1:
        raise ConfigurationError(f"the share must be within 0 and 1, got {share!r}")
    queries = list(collection.queries)
    chosen = set(random.Random(seed).sample(queries, round(share * len(queries))))
    run = {
        query: tuple(c for c in candidates if query not in chosen or collection.qrels[query].get(str(c.id), 0) < 1)
        for query, candidates in collection.run.items()
    }
    return replace(collection, run=run, notes=(*collection.notes, f"nothing relevant for {len(chosen)} queries"))


@checked
def fit_answerability(cases: Iterable[AnswerCase], kept: Sequence[int] = KEPT) -> Answerability:
    """Fit ``Ranking.answerable`` on labelled questions by logistic regression.

    :param cases: Questions of which a good part has no right candidate, as in use; see ``drop_relevant``.
    :param kept: The numbers of kept candidates that it is to hold for.
    :raises InputError: If there is no question.
    :raises ConfigurationError: If too few are of one kind, they were scored by several models, or ``kept`` is wrong.
    """
    if not kept or min(kept) < 1:
        raise ConfigurationError(f"kept must be whole numbers from 1, at least one, got {kept!r:.80}")
    cases = [case for case in cases if case.scores]
    if not cases:
        raise InputError("there must be questions with scored candidates, and there are none")
    specs = {case.spec.calibrated_as: case.spec for case in cases}
    if len(specs) > 1:
        raise ConfigurationError(f"the questions must be scored by one model, got {len(specs)}")
    answered = sum(case.answered(max(kept)) for case in cases)
    if min(answered, len(cases) - answered) < _LEAST:
        raise ConfigurationError(
            f"at least {_LEAST} questions with and {_LEAST} without a right candidate are needed, got {answered} and "
            f"{len(cases) - answered}: drop_relevant(collection) takes right ones out"
        )
    examples = [(case, number) for case in cases for number in kept if number <= len(case.scores)]
    rows = np.array([features(case.scores[:number], case.scores[number:]) for case, number in examples])
    labels = np.array([case.answered(number) for case, number in examples])
    scale = np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1.0)  # so that the penalty treats the features alike
    model = LogisticRegression(max_iter=1000).fit(rows / scale, labels)
    weights = tuple(float(weight) for weight in model.coef_[0] / scale)
    return Answerability(next(iter(specs)), weights, float(model.intercept_[0]), len(cases))
