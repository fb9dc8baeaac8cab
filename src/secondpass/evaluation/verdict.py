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
from secondpass.scores import Score

Floats = NDArray[np.float64]
Setting = TypeVar("Setting", int, float)

ALPHAS = tuple(step / 10 for step in range(11))
_FOLDS = 5
_POWER = 0.8


class Finding(StrEnum):
    """What a second pass does to the first measure."""

    HELPS = "helps"
    HURTS = "hurts"
    NO_DIFFERENCE = "makes no difference"
    UNDECIDED = "can't be told from so few questions"


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

    :param finding: ``HELPS`` or ``HURTS`` where the interval leaves out 0, ``NO_DIFFERENCE`` where all of it is
        negligible, else ``UNDECIDED``.
    :param measure: The measure.
    :param gain: The change of its mean, with interval and test.
    :param questions: The questions behind it.
    :param negligible: The change that counts as none.
    :param detectable: The smallest change that so many questions show in four of five experiments.
    :param questions_needed: How many would show a change of ``negligible`` as often.
    :param depth: The recommended number of candidates, 0 for no second pass; None where no depths were computed.
    :param fusion: The recommended fusion weight; None where the system fuses already.
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

    "No difference" needs the whole interval within the negligible change, as in Schuirmann, "A comparison of the two
    one-sided tests procedure and the power approach", 1987. Depth and weight are the least whose mean is within a
    standard error of the best one's: Breiman et al., "Classification and regression trees", 1984, section 3.4.3.

    :param values: The measures' values without and with the system.
    :param by_depth: The values of each measure at each depth; empty for no recommendation.
    """
    name = measures.names[0]
    before, after = ([*side[name].values()] for side in values)
    gain = compare(before, after, settings.sampling)
    error = _standard_error(np.subtract(after, before))
    factor = float(stats.norm.ppf((1 + settings.sampling.confidence) / 2) + stats.norm.ppf(_POWER))
    finding = _finding(gain, settings.negligible)
    depths = {depth: np.array([*at[name].values()]) for depth, at in by_depth.items()}
    return Verdict(
        finding,
        name,
        gain,
        len(before),
        settings.negligible,
        None if error is None else factor * error,
        None if error is None else math.ceil(len(before) * (factor * error / settings.negligible) ** 2),
        _least(depths) if depths else None,
        None if system.reranker.fusion else _fusion_advice(results, measures, name, settings),
    )


def _finding(gain: Comparison, negligible: float) -> Finding:
    low, high = gain.interval.low, gain.interval.high
    if low is None or high is None:
        return Finding.UNDECIDED
    if -negligible <= low and high <= negligible:
        return Finding.NO_DIFFERENCE
    if low > 0:
        return Finding.HELPS
    return Finding.HURTS if high < 0 else Finding.UNDECIDED


def _fusion_advice(
    results: Sequence[QueryResult], measures: Measures, name: str, settings: Settings
) -> FusionAdvice | None:
    """Choose a weight on all questions, and measure that way of choosing on fifths that it didn't see."""
    values = {
        alpha: np.array([*measures.per_query({r.query: _fused_order(r, alpha) for r in results})[name].values()])
        for alpha in ALPHAS
    }
    questions = len(values[0.0])
    if questions < 2 * _FOLDS:
        return None
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
    return min(
        setting
        for setting, of in values.items()
        if (values[best] - of).mean() <= (_standard_error(values[best] - of) or 0.0)
    )


def _standard_error(gains: Floats) -> float | None:
    return float(stats.sem(gains)) if len(gains) > 1 else None
