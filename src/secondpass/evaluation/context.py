"""Answer in context: how often the texts kept under a context budget hold the answer, or a relevant item."""

import re
import statistics
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import NamedTuple

from secondpass.evaluation.collection import Collection
from secondpass.evaluation.measures import Comparison, Interval, compare, interval
from secondpass.evaluation.settings import Settings
from secondpass.evaluation.systems import QueryResult, System
from secondpass.ranking import Kept, Ranked
from secondpass.records import Score
from secondpass.selection.select import Selection, choose
from secondpass.selection.tokens import TokenCounter, as_counter

TOP_K = Selection(duplicates="keep", policy="prefix")
"""The first stage's top k, as large a k as fits the budget: the usual context without a second pass."""
_CACHED_TEXTS = 2**15  # every budget counts the same texts
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SIGN = f"[{re.escape(string.punctuation)}]"
_BETWEEN_WORDS = re.compile(rf"(?<![0-9]){_SIGN}|{_SIGN}(?![0-9])")  # not within a number: 1.5 stays one


class Filled(NamedTuple):
    """For one budget: whether each query's context holds the answer (1.0 or 0.0), and its tokens."""

    hits: tuple[float, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ContextShare:
    """The share of queries whose context holds the answer, and the contexts' mean number of tokens."""

    share: Interval
    tokens: float


@dataclass(frozen=True, slots=True)
class ContextPoint:
    """Answer in context at one budget.

    :param budget: The budget in tokens.
    :param top_k: The first stage's top k, as large a k as fits.
    :param same_selection: The first stage's order, under the second pass's own selection: what that gains by itself.
    :param second_pass: What the second pass keeps.
    :param gain: The second pass minus the top k, over the same queries.
    """

    budget: int
    top_k: ContextShare
    same_selection: ContextShare
    second_pass: ContextShare
    gain: Comparison


class Contexts:
    """Fills every query's context in three ways, with one counter, one separator and one test for the answer.

    The queries are those with an answer, or in a collection without answers the judged ones.

    :param settings: The budgets, the counter, the separator, and the lowest relevant grade.
    """

    def __init__(self, collection: Collection, settings: Settings) -> None:
        counter = as_counter(settings.counter)
        cached = TokenCounter(counter.name, counter.exact, lru_cache(_CACHED_TEXTS)(counter.function))
        self._settings = replace(settings, counter=cached)
        tested = collection.answers or collection.qrels
        self._tests = {query: _test(collection, query, settings.relevant_from) for query in tested}
        self._first_stage = [
            [
                Ranked(item, rank - 1, Score(-float(rank)), None, None, rank)
                for rank, item in enumerate(collection.run[query], 1)
            ]
            for query in tested  # without a probability no threshold applies to them
        ]
        self._top_k = {budget: self.first_stage(budget) for budget in settings.budgets}

    def __len__(self) -> int:
        """Count the queries."""
        return len(self._tests)

    def first_stage(self, budget: int, selection: Selection = TOP_K) -> Filled:
        """Fill in the first stage's order, by a selection with this budget."""
        return self._fill(self._first_stage, selection, budget)

    def second_pass(self, budget: int, system: System, results: Iterable[QueryResult]) -> Filled:
        """Fill with what a second pass keeps; its scores are those of the results."""
        candidates = {result.query: result.candidates for result in results}
        return self._fill([candidates[query] for query in self._tests], system.context_selection, budget)

    def curve(self, system: System, results: Sequence[QueryResult]) -> tuple[ContextPoint, ...]:
        """Return how often the context holds the answer at each budget, without and with the second pass."""
        points, sampling = [], self._settings.sampling
        for budget, top_k in self._top_k.items():
            same_selection = self.first_stage(budget, system.context_selection)
            second_pass = self.second_pass(budget, system, results)
            gain = compare(top_k.hits, second_pass.hits, sampling)
            first, same, second = (
                ContextShare(interval(filled.hits, sampling), statistics.fmean(filled.tokens))
                for filled in (top_k, same_selection, second_pass)
            )
            points.append(ContextPoint(budget, first, same, second, gain))
        return tuple(points)

    def _fill(self, candidates: Iterable[Sequence[Ranked]], selection: Selection, budget: int) -> Filled:
        selection = replace(selection, budget=self._settings.budget(budget))
        selected = [choose(ranked, selection) for ranked in candidates]
        hits = [any(map(test, chosen.kept)) for test, chosen in zip(self._tests.values(), selected, strict=True)]
        return Filled(tuple(map(float, hits)), tuple(chosen.tokens or 0 for chosen in selected))


def normalise(text: str) -> str:
    """Return the text in lower case, without ASCII punctuation and English articles, blanks made one.

    It is the normalisation of SQuAD's official script: Rajpurkar et al., EMNLP 2016.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def holds_any(answers: Sequence[str]) -> Callable[[str], bool]:
    """Return a test whether a text holds one of the answers; it caches its results.

    Both are normalised, and the answer must stand in the text as a whole: not within a longer run of ASCII letters
    and digits, so that ``5`` isn't found in ``15``, while scripts without blanks work. Unlike in SQuAD's script, where
    whole strings are compared, signs between words may part them too: "Darwin" is in "Darwin's". An answer of which
    nothing is left, such as an article or a sign, is looked for as it stands.
    """
    normal = [normalise(answer) for answer in answers if answer.strip()]
    patterns = [re.compile(rf"(?<![a-z0-9]){re.escape(answer)}(?![a-z0-9])") for answer in normal if answer]
    literal = [answer.strip().lower() for answer in answers if answer.strip() and not normalise(answer)]

    @cache
    def holds(text: str) -> bool:
        forms = (normalise(text), normalise(_BETWEEN_WORDS.sub(" ", text)))  # signs removed, and signs as blanks
        return any(pattern.search(form) for pattern in patterns for form in forms) or any(
            answer in text.lower() for answer in literal
        )

    return holds


def _test(collection: Collection, query: str, relevant_from: int) -> Callable[[Kept], bool]:
    """Return the test for a kept text: it holds an answer, or is relevant; a duplicate's other id doesn't matter."""
    if collection.answers:
        holds = holds_any(collection.answers[query])
        return lambda kept: holds(kept.text)
    grades = collection.qrels[query]
    candidates = collection.run[query]
    relevant = {item.reading.strip() for item in candidates if grades.get(str(item.id), 0) >= relevant_from}
    return lambda kept: kept.candidate.reading.strip() in relevant
