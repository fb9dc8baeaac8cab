"""Measures of ranking through ir_measures, and how sure their means are: scipy's bootstrap and permutation test."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
from ir_measures import providers
from scipy import stats

from secondpass.errors import ConfigurationError
from secondpass.evaluation.collection import Qrels
from secondpass.evaluation.settings import Sampling

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")
Values = Mapping[str, Mapping[str, float]]
"""From a measure's name to its value for each query's id."""
_BATCH = 1000  # resamples computed together: bounds the memory where there are thousands of queries


class Measures:
    """Measures over one set of judgements.

    The order that is handed in is what is measured: ranks go to trec_eval as strictly falling values, so that it has
    no ties to break by text id. Every judged query counts; one without results counts 0.

    MacAvaney, Macdonald and Ounis, "Streamlining evaluation with ir-measures", ECIR 2022; Van Gysel and de Rijke,
    "Pytrec_eval: an extremely fast Python interface to trec_eval", SIGIR 2018.

    :param names: In ir_measures' notation: ``nDCG@10``, ``RR@10``, ``R@100``, ``AP(rel=2)``, ``P(rel=2)@10``.
    :param qrels: The judgements. Negative grades mean "not judged", as they do to trec_eval.
    :raises ConfigurationError: If a name isn't a measure's, or no installed library can compute it.
    """

    def __init__(self, names: Sequence[str], qrels: Qrels) -> None:
        if isinstance(names, str) or not names:
            raise ConfigurationError(f"measures must be a list of at least one name, such as 'nDCG@10', got {names!r}")
        parsed = list(dict.fromkeys(map(_parse, names)))
        self.names = tuple(map(str, parsed)) if qrels else ()
        # pytrec_eval crashes the process on a query whose grades are all negative
        judged = {q: {text: grade for text, grade in texts.items() if grade >= 0} for q, texts in qrels.items()}
        self._queries = tuple(judged)
        self._evaluator = _provider().evaluator(parsed, judged)

    def per_query(self, orders: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """Return the value of each measure for each judged query.

        :param orders: From a query's id to the ids of its texts, best first, each once; a missing query has none.
        :returns: From a measure's name to a mapping of query ids to values, all in the judgements' order; empty
            without judgements.
        """
        run = {
            query: {text: -float(rank) for rank, text in enumerate(orders.get(query, ()), start=1)}
            for query in self._queries
        }
        values = {(str(metric.measure), metric.query_id): metric.value for metric in self._evaluator.iter_calc(run)}
        return {name: {query: float(values[name, query]) for query in self._queries} for name in self.names}


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries, and its bootstrap interval; low and high are None for fewer than two queries."""

    mean: float
    low: float | None
    high: float | None

    def __format__(self, spec: str) -> str:
        """Return the mean, and the bounds in brackets, each in this format."""
        bounds = "" if self.low is None or self.high is None else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.mean:{spec}}{bounds}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean difference over the same queries, its two-sided p-value, and how many queries got better or worse."""

    interval: Interval
    p_value: float
    won: int
    lost: int
    tied: int


def interval(values: Sequence[float], sampling: Sampling) -> Interval:
    """Return the mean and its percentile bootstrap interval over queries.

    Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13. The percentile interval is defined
    also where all values are equal, as hit rates may be, and bias-corrected ones aren't.

    :param values: One for each query, at least one.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 2:
        return Interval(float(data.mean()), None, None)
    bounds = stats.bootstrap(
        (data,),
        np.mean,
        method="percentile",
        confidence_level=sampling.confidence,
        n_resamples=sampling.resamples,
        batch=_BATCH,
        rng=sampling.seed,
    ).confidence_interval
    return Interval(float(data.mean()), float(bounds.low), float(bounds.high))


def means(values: Values, sampling: Sampling) -> dict[str, Interval]:
    """Return the mean of each measure with its interval."""
    return {name: interval(list(by_query.values()), sampling) for name, by_query in values.items()}


def compare(before: Sequence[float], after: Sequence[float], sampling: Sampling) -> Comparison:
    """Return how two systems differ on the same queries.

    The test is Fisher's paired randomisation (permutation) test on the mean difference, which assumes nothing about
    the values' distribution: Smucker, Allan and Carterette, "A comparison of statistical significance tests for
    information retrieval evaluation", CIKM 2007. It is exact for few queries. Nothing is corrected for the number of
    comparisons.

    :param before: One value for each query.
    :param after: The same queries' values, in the same order.
    """
    gains = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    p_value = 1.0  # of one query's two signs either is as likely; scipy needs two queries
    if len(gains) > 1:
        test = stats.permutation_test(
            (gains,),
            np.mean,
            permutation_type="samples",
            n_resamples=sampling.resamples,
            batch=_BATCH,
            rng=sampling.seed,
        )
        p_value = float(test.pvalue)
    won, lost = int((gains > 0).sum()), int((gains < 0).sum())
    return Comparison(interval(gains.tolist(), sampling), p_value, won, lost, len(gains) - won - lost)


def _parse(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its parser asks for names that newer Pythons retire
            measure = ir_measures.parse_measure(name)
        measure.validate_params()  # type: ignore[no-untyped-call]
        supported = _provider().supports(measure)
    except (ValueError, NameError, KeyError, TypeError, AssertionError) as error:  # it asserts what was typed
        raise ConfigurationError(
            f"a measure must be one of ir_measures', such as 'nDCG@10', 'RR@10' or 'AP(rel=2)', got {name!r}: {error}"
        ) from error
    if not supported:
        raise ConfigurationError(f"no installed library computes {name!r}: take another measure, such as 'nDCG@10'")
    return measure


def _provider() -> Any:
    """Return ir_measures' providers that need no Perl, Java or numeric query ids, trec_eval first."""
    names = ("pytrec_eval", "cwl_eval", "compat", "judged", "msmarco")
    return providers.FallbackProvider(  # type: ignore[no-untyped-call]
        [providers.registry[name] for name in names if name in providers.registry]
    )
