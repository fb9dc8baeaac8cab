"""Measures of ranking, by name: what ir_measures computes, and mostly trec_eval beneath it."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from secondpass.errors import ConfigurationError
from secondpass.evaluation.collection import Qrels
from secondpass.evaluation.extras import require

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")


class Measures:
    """Measures over one set of judgements.

    The order that is handed in is what is measured: ranks go to trec_eval as strictly falling values, so that it has
    no ties to break by text id. Every judged query counts; one with nothing found counts 0.

    MacAvaney, Macdonald and Ounis, "Streamlining evaluation with ir-measures", ECIR 2022; Van Gysel and de Rijke,
    "Pytrec_eval: an extremely fast Python interface to trec_eval", SIGIR 2018.

    :param names: In ir_measures' words: ``nDCG@10``, ``RR@10``, ``R@100``, ``AP(rel=2)``, ``P(rel=2)@10``.
    :param qrels: The judgements. Negative grades mean "not judged", as they do to trec_eval.
    :raises ConfigurationError: If a name isn't a measure's, or nothing that is installed can compute it.
    :raises MissingExtra: If ir_measures or pytrec_eval isn't installed.
    """

    def __init__(self, names: Sequence[str], qrels: Qrels) -> None:
        require("ir_measures", "pytrec_eval")
        if isinstance(names, str) or not names:
            raise ConfigurationError(f"measures must be a list of at least one name, such as 'nDCG@10', got {names!r}")
        parsed = [_parse(name) for name in names]
        self.names = tuple(dict.fromkeys(str(measure) for measure in parsed)) if qrels else ()
        # pytrec_eval crashes the process on a query whose grades are all negative
        judged = {q: {text: grade for text, grade in texts.items() if grade >= 0} for q, texts in qrels.items()}
        self._queries = tuple(judged)
        self._evaluator = _provider().evaluator(list(dict.fromkeys(parsed)), judged)

    def per_query(self, orders: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """Return the value of each measure for each judged query.

        :param orders: From a query's id to the ids of its texts, best first, each once; a query that isn't there
            found nothing.
        :returns: From a measure's name to a mapping of query ids to values, all in the judgements' order; empty
            without judgements.
        """
        run = {
            query: {text: -float(rank) for rank, text in enumerate(orders.get(query, ()), start=1)}
            for query in self._queries
        }
        found = {(str(metric.measure), metric.query_id): metric.value for metric in self._evaluator.iter_calc(run)}
        return {name: {query: float(found[name, query]) for query in self._queries} for name in self.names}


def _parse(name: str) -> Any:
    import ir_measures

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
    """Return who computes: trec_eval where it can, then those that need no Perl, Java or numeric query ids."""
    from ir_measures import providers

    names = ("pytrec_eval", "cwl_eval", "compat", "judged", "msmarco")
    return providers.FallbackProvider(  # type: ignore[no-untyped-call]
        [providers.registry[name] for name in names if name in providers.registry]
    )
