"""The verdict on a second pass: does it help over this first stage, how deep, and with which fusion weight."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from secondpass.evaluation.measures import Comparison, Measures, Values, compare
from secondpass.evaluation.settings import Settings
from secondpass.evaluation.systems import QueryResult, System
from secondpass.fusion import FusionInput, WeightedSum
from secondpass.records import Score

Floats = NDArray[np.float64]
Setting = TypeVar("Setting", int, float)

ALPHAS = tuple(step / 10 for step in range(11))
_FOLDS = 5
_POWER = 0.8
_LEAST = 20  # questions for "no difference" and for advice: a bootstrap interval of fewer is too narrow
_NONE = 1e-9  # variance below it is rounding


class Finding(StrEnum):
    """What a second pass does to the first measure."""

    HELPS = "helps"
    HURTS = "hurts"
    NO_DIFFERENCE = "makes no difference"
    UNDECIDED = "can't be told from these questions"


@dataclass(frozen=True, slots=True)
class FusionAdvice:
    """The weight of the first stage's scores in ``WeightedSum(alpha)``.

    :param alpha: The recommended weight; 0 is the model alone, 1 the first stage alone.
    :param gain: What a weight chosen in the same way adds to the model alone, on questions that it wasn't chosen on.
    """

    alpha: float
    gain: Comparison


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a second pass helps over its first stage.

    :param finding: ``HELPS`` or ``HURTS`` where the interval leaves out 0 and the test rejects it, ``NO_DIFFERENCE``
        where all of the interval is negligible, on 20 questions or more that don't all change alike, else
        ``UNDECIDED``.
    :param measure: The measure.
    :param gain: The change of its mean, with interval and test.
    :param questions: The questions behind it.
    :param negligible: The change that counts as none.
    :param detectable: The smallest change that this number of questions shows in four of five experiments; None where
        the test can't reject with so few, or all questions change alike.
    :param questions_needed: How many would show a change of ``negligible`` as often; None as above.
    :param depth: The recommended number of candidates, 0 for no second pass; None where no depths were computed, or on
        fewer than 20 questions.
    :param fusion: The recommended fusion weight; None where the system fuses already, or on fewer than 20 questions.
    """

    finding: Finding
    measure: str
    gain: Comparison
    questions: int
    negligible: float
    detectable: float | None
    questions_needed: int | None
    depth: int | None
    fusion: FusionAdvice | None

    def sentences(self) -> list[str]:
        """Return the figures behind the finding, and the advice, in words."""
        gain = self.gain
        counts = f"{gain.won} won, {gain.lost} lost, {gain.tied} tied; p = {gain.p_value:.4f}"
        lines = [f"{self.measure} changes by {gain.interval:+.3f} on {self.questions} questions: {counts}"]
        if self.detectable is not None:
            lines.append(
                f"So many questions show a change of {self.detectable:.3f} or more (in four of five experiments); "
                f"{self.questions_needed} would show {self.negligible:g}"
            )
        if self.depth is not None:
            lines.append(f"Recommended depth: {f'{self.depth} candidates' if self.depth else 'no second pass'}")
        if self.fusion is not None:
            rule = f"WeightedSum(alpha={self.fusion.alpha:g})" if self.fusion.alpha else "none"
            lines.append(
                f"Recommended fusion: {rule}; a weight chosen so adds {self.fusion.gain.interval:+.3f} to the model "
                "alone, on questions that it wasn't chosen on"
            )
        return lines


def judge(
    system: System,
    results: Sequence[QueryResult],
    measures: Measures,
    values: tuple[Values, Values],
    by_depth: Mapping[int, Values],
    settings: Settings,
) -> Verdict:
    """Return the verdict on one system, on the first measure.

    "Helps" and "hurts" need the interval and the permutation test: on few questions the interval is too narrow (of
    three that change alike it leaves out 0), and the test, which is exact, rejects no true null hypothesis too often.
    "No difference" needs the whole interval within the negligible change, as in Schuirmann, "A comparison of the two
    one-sided tests procedure and the power approach", 1987. Depth and weight are the least whose mean is within a
    standard error of the best one's: Breiman et al., "Classification and regression trees", 1984, section 3.4.3.

    :param values: The measures' values without and with the system.
    :param by_depth: The values of each measure at each depth; empty for no recommendation.
    """
    name = measures.names[0]
    before, after = ([*side[name].values()] for side in values)
    gain = compare(before, after, settings.sampling)
    detectable, needed = _power(np.subtract(after, before), settings)
    advised = len(before) >= _LEAST
    depths = {depth: np.array([*at[name].values()]) for depth, at in by_depth.items()}
    return Verdict(
        finding_of(gain, len(before), settings),
        name,
        gain,
        len(before),
        settings.negligible,
        detectable,
        needed,
        _least(depths) if depths and advised else None,
        _fusion_advice(results, measures, name, settings) if advised and not system.reranker.fusion else None,
    )


def finding_of(gain: Comparison, questions: int, settings: Settings) -> Finding:
    """Return what a change on a number of questions shows."""
    low, high = gain.interval.low, gain.interval.high
    if low is None or high is None:
        return Finding.UNDECIDED
    if -settings.negligible <= low and high <= settings.negligible and questions >= _LEAST and high - low > _NONE:
        return Finding.NO_DIFFERENCE
    if gain.p_value > 1 - settings.sampling.confidence or low <= 0 <= high:
        return Finding.UNDECIDED
    return Finding.HELPS if low > 0 else Finding.HURTS


def _power(gains: Floats, settings: Settings) -> tuple[float | None, int | None]:
    """Return the smallest change that a number of questions shows, and how many would show the negligible one."""
    confidence = settings.sampling.confidence
    least = math.ceil(1 - math.log2(1 - confidence))  # of n signs, all alike have a p-value of 2 / 2**n
    error = float(stats.sem(gains)) if len(gains) >= least else 0.0
    if error < _NONE:
        return None, None
    factor = float(stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(_POWER))
    needed = math.ceil(len(gains) * (factor * error / settings.negligible) ** 2)
    return factor * error, max(needed, least)


def _fusion_advice(results: Sequence[QueryResult], measures: Measures, name: str, settings: Settings) -> FusionAdvice:
    """Choose a weight on all questions, and measure that way of choosing on fifths that it didn't see."""
    values = {
        alpha: np.array([*measures.per_query({r.query: _fused_order(r, alpha) for r in results})[name].values()])
        for alpha in ALPHAS
    }
    questions = len(values[0.0])
    folds = np.arange(questions) % _FOLDS
    held_out = np.zeros(questions)
    for fold in range(_FOLDS):
        chosen = _least({alpha: of[folds != fold] for alpha, of in values.items()})
        held_out[folds == fold] = values[chosen][folds == fold]
    return FusionAdvice(_least(values), compare(values[0.0].tolist(), held_out.tolist(), settings.sampling))


def _fused_order(result: QueryResult, alpha: float) -> list[str]:
    """Return the order by a weighted sum; what has no score follows in its order."""
    scored = [item for item in result.candidates if isinstance(item.outcome, Score)]
    inputs = [FusionInput(item.candidate, item.score or 0.0, item.rank_before) for item in scored]
    pairs = zip(WeightedSum(alpha).fuse(inputs), scored, strict=True)
    fused = sorted(pairs, key=lambda pair: (-pair[0], pair[1].rank_before))
    rest = [item for item in result.candidates if not isinstance(item.outcome, Score)]
    return [str(item.candidate.id) for item in (*(item for _, item in fused), *rest)]


def _least(values: Mapping[Setting, Floats]) -> Setting:
    """Return the least setting whose mean is within a standard error of the difference to the best one's."""
    best = max(values, key=lambda setting: (float(values[setting].mean()), -setting))
    return min(setting for setting, of in values.items() if (values[best] - of).mean() <= stats.sem(values[best] - of))
