"""How sure a mean is, and whether two systems differ: scipy's bootstrap and permutation test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from secondpass.errors import ConfigurationError
from secondpass.evaluation.extras import require

_AT_ONCE = 1000  # resamples computed together: bounds the memory where there are thousands of queries


@dataclass(frozen=True, slots=True)
class Sampling:
    """How intervals and tests are drawn; the same settings on the same values give the same figures.

    :param confidence: The share of resamples within an interval.
    :param resamples: How many are drawn.
    :param seed: Where the random numbers start.
    :raises ConfigurationError: If a setting is out of its range.
    """

    confidence: float = 0.95
    resamples: int = 9999
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.confidence < 1:
            raise ConfigurationError(f"confidence must be between 0 and 1, got {self.confidence!r}")
        if self.resamples < 100:
            raise ConfigurationError(f"resamples must be 100 or more, got {self.resamples!r}")


class Interval(NamedTuple):
    """A mean over queries, and its bootstrap interval; low and high are None for fewer than two queries."""

    mean: float
    low: float | None
    high: float | None


class Paired(NamedTuple):
    """The mean difference over the same queries, and how likely one as large is by chance.

    :param interval: Of after minus before.
    :param p_value: Two-sided, from the paired permutation test.
    :param won: How many queries got better.
    :param lost: How many got worse.
    :param tied: How many stayed as they were.
    """

    interval: Interval
    p_value: float
    won: int
    lost: int
    tied: int


def interval(values: Sequence[float], sampling: Sampling) -> Interval:
    """Return the mean and its percentile bootstrap interval, queries being what is drawn.

    Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13. The percentile interval is defined
    also where all values are one, as hit rates may be, and bias-corrected ones aren't.

    :param values: One for each query, at least one.
    :param sampling: How it is drawn.
    :raises MissingExtra: If scipy isn't installed.
    """
    require("scipy")
    from scipy import stats

    data = np.asarray(values, dtype=np.float64)
    if len(data) < 2:
        return Interval(float(data.mean()), None, None)
    found = stats.bootstrap(
        (data,),
        np.mean,
        method="percentile",
        confidence_level=sampling.confidence,
        n_resamples=sampling.resamples,
        batch=_AT_ONCE,
        rng=sampling.seed,
    ).confidence_interval
    return Interval(float(data.mean()), float(found.low), float(found.high))


def compare(before: Sequence[float], after: Sequence[float], sampling: Sampling) -> Paired:
    """Return how two systems differ on the same queries.

    The test is Fisher's paired randomisation (permutation) test on the mean difference, which asks nothing of the
    values' distribution: Smucker, Allan and Carterette, "A comparison of statistical significance tests for
    information retrieval evaluation", CIKM 2007. It is exact for few queries. Nothing is corrected for the number of
    comparisons.

    :param before: One value for each query.
    :param after: The same queries' values, in the same order.
    :param sampling: How they are drawn.
    :raises MissingExtra: If scipy isn't installed.
    """
    require("scipy")
    from scipy import stats

    gains = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    p_value = 1.0  # of one query's two signs either is as likely; scipy asks for two queries
    if len(gains) > 1:
        test = stats.permutation_test(
            (gains,),
            np.mean,
            permutation_type="samples",
            n_resamples=sampling.resamples,
            batch=_AT_ONCE,
            rng=sampling.seed,
        )
        p_value = float(test.pvalue)
    won, lost = int((gains > 0).sum()), int((gains < 0).sum())
    return Paired(interval(gains.tolist(), sampling), p_value, won, lost, len(gains) - won - lost)
