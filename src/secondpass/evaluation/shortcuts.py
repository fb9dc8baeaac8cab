"""Fitting of what may be left out: how many candidates a cascade keeps, where scoring stops, when it is skipped.

All three choose the cheapest setting that loses one of the full pass's top-k in at most a stated share of questions.
With ``l`` of ``n`` questions lost the share is taken as ``(l + 1) / (n + 1)``, which bounds the expected share on
further questions of the same kind: Angelopoulos et al., "Conformal risk control", ICLR 2024.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Progress
from secondpass.scores import Pair, Score
from secondpass.scoring.cascade import pruning_order
from secondpass.scoring.early_stop import Gate, StopRule, first_stage_margin
from secondpass.scoring.scorer import Scorer

_LEVELS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.0)


@dataclass(frozen=True, slots=True)
class KeepFit:
    """How many candidates a cascade's cheap scorer lets through, and what that keeps.

    :param keep: The number, for ``Cascade(keep=...)``.
    :param top_k: The candidates that are to survive.
    :param risk: The highest share of questions in which one of them may be lost.
    :param survival: The mean share of the top-k that survived, on the questions it was fitted on.
    :param questions: How many these were.
    """

    keep: int
    top_k: int
    risk: float
    survival: float
    questions: int


def fit_keep(
    cheap: Scorer,
    precise: Scorer,
    collection: Collection,
    *,
    top_k: int = 10,
    risk: float = 0.05,
    vote: float = 0.0,
    progress: Progress | None = None,
) -> KeepFit:
    """Choose the smallest ``keep`` with which the precise scorer's top-k gets through in all but a share of questions.

    :param cheap: The scorer that prunes.
    :param precise: The scorer that decides.
    :param collection: One's own questions with their candidates; judgements aren't read.
    :param top_k: The candidates that are to survive.
    :param risk: The highest share of questions in which one of them may be lost.
    :param vote: As the cascade's.
    :param progress: Called with the work, what is done and the total.
    :raises ConfigurationError: If there are too few questions for this risk, or a setting is out of its range.
    """
    _check(top_k, risk, len(collection))
    cheap_scores = question_scores(cheap, collection, progress)
    kept: list[list[int]] = []  # of each question: the places of the precise top-k in the pruning order, rising
    for question, scores in enumerate(question_scores(precise, collection, progress)):
        order = pruning_order(cheap_scores[question], vote)
        places = {position: place for place, position in enumerate(order, start=1)}
        kept.append(sorted(places[position] for position in _best(scores, top_k)))
    needed = sorted(places[-1] if places else 0 for places in kept)
    allowed = int(risk * (len(needed) + 1)) - 1
    keep = max(1, needed[len(needed) - 1 - allowed])
    survived = [sum(place <= keep for place in places) / len(places) for places in kept if places]
    return KeepFit(keep, top_k, risk, sum(survived) / max(1, len(survived)), len(needed))


def fit_stop(
    scorer: Scorer,
    collection: Collection,
    *,
    top_k: int = 10,
    risk: float = 0.05,
    block: int = 10,
    progress: Progress | None = None,
) -> StopRule:
    """Fit when scoring in blocks may end: the rule for ``Stopping``.

    The threshold behind each block is a quantile, over questions, of the best score that still follows; the quantile is
    the lowest with which few enough questions lose one of their top-k.

    :param scorer: The scorer.
    :param collection: As for ``fit_keep``.
    :param top_k: The candidates that are to stay the same.
    :param risk: The highest share of questions in which one of them may be lost.
    :param block: The candidates of a block.
    :param progress: As for ``fit_keep``.
    :raises ConfigurationError: As ``fit_keep``.
    """
    _check(top_k, risk, len(collection))
    if block < 1:
        raise ConfigurationError(f"block must be 1 or more, got {block!r}")
    questions = question_scores(scorer, collection, progress)
    blocks = max((-(-len(scores) // block) for scores in questions), default=1)
    fingerprint, count = scorer.spec.fingerprint, len(questions)
    never = StopRule(fingerprint, top_k, risk, block, (), count)
    for level in _LEVELS:
        following = [sorted(max(s[n * block :]) for s in questions if len(s) > n * block) for n in range(1, blocks)]
        thresholds = tuple(best[-1 - int(level * (len(best) - 1))] if best else None for best in following)
        rule = StopRule(fingerprint, top_k, risk, block, thresholds, count)
        if _within(sum(_loses(rule, scores) for scores in questions), count, risk):
            return rule
    return never


def fit_gate(
    scorer: Scorer, collection: Collection, *, top_k: int = 5, risk: float = 0.05, progress: Progress | None = None
) -> Gate:
    """Fit when the second pass may be skipped: the rule for ``Reranker(gate=...)``.

    :param scorer: The scorer.
    :param collection: As for ``fit_keep``; its candidates must have first-stage scores.
    :param top_k: The candidates that are to stay the same, in any order.
    :param risk: The highest share of questions in which they may be others.
    :param progress: As for ``fit_keep``.
    :raises ConfigurationError: As ``fit_keep``.
    """
    _check(top_k, risk, len(collection))
    measured: list[tuple[float, bool]] = []
    for candidates, scores in zip(_candidates(collection), question_scores(scorer, collection, progress), strict=True):
        margin = first_stage_margin([candidate.score for candidate in candidates], top_k)
        if margin is not None:
            measured.append((margin, set(range(top_k)) != set(_best(scores, top_k))))
    margin_, lost = None, 0
    for margin, differs in sorted(measured, reverse=True):
        lost += differs
        if not _within(lost, len(collection), risk):
            break
        margin_ = margin
    return Gate(top_k, risk, margin_, len(collection))


def _candidates(collection: Collection) -> list[Sequence[Candidate]]:
    return [collection.run[query] for query in collection.queries]


def question_scores(scorer: Scorer, collection: Collection, progress: Progress | None) -> list[list[float]]:
    """Return each question's scores, in the order of its candidates.

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


def _best(scores: Sequence[float], top_k: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:top_k]


def _loses(rule: StopRule, scores: Sequence[float]) -> bool:
    """Return whether a question loses one of its top-k by the rule."""
    for blocks, end in enumerate(range(rule.block, len(scores), rule.block), start=1):
        if rule.ends(scores[:end], blocks):
            return max(_best(scores, rule.top_k)) >= end
    return False


def _within(lost: int, questions: int, risk: float) -> bool:
    return (lost + 1) / (questions + 1) <= risk


def _check(top_k: int, risk: float, questions: int) -> None:
    if top_k < 1 or not 0 < risk < 1:
        raise ConfigurationError(f"top_k must be 1 or more and risk between 0 and 1, got {top_k!r} and {risk!r}")
    if not _within(0, questions, risk):
        raise ConfigurationError(
            f"a risk of {risk:g} can be stated from {math.ceil(1 / risk) - 1} questions on, and there are {questions}: "
            "give more questions, or allow a higher risk"
        )
