"""Answer in context at N tokens: how often what is kept under a budget holds the answer, or a relevant item."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from secondpass.candidates import Candidate
from secondpass.evaluation.answers import holds_any
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.settings import Settings
from secondpass.evaluation.systems import Pass, System
from secondpass.ranking import Judged, Kept
from secondpass.scores import Score
from secondpass.selection.select import Selection, choose
from secondpass.selection.tokens import TokenCounter, as_counter

_REMEMBERED = 2**15  # texts whose tokens are remembered: every budget counts the same ones


@dataclass(frozen=True, slots=True)
class Filled:
    """What one way of filling the context came to, one entry for each query.

    :param hits: 1.0 where the kept held the answer, 0.0 where they didn't.
    :param tokens: The tokens that the context took.
    """

    hits: tuple[float, ...]
    tokens: tuple[int, ...]


class Contexts:
    """Fills the context of every query in three ways, with one counter, one separator and one test for the answer.

    Queries that count are those with an answer, or in a collection without answers the judged ones.

    :param collection: What is asked.
    :param settings: The counter, the separator, and which grades are relevant.
    """

    def __init__(self, collection: Collection, settings: Settings) -> None:
        counter = as_counter(settings.counter)
        remembering = TokenCounter(counter.name, counter.exact, lru_cache(_REMEMBERED)(counter.function))
        self._collection = collection
        self._settings = replace(settings, counter=remembering)
        self._tests = {query: _test(collection, query, settings.relevant_from) for query in _asked(collection)}

    def __len__(self) -> int:
        """Count the queries that count."""
        return len(self._tests)

    def plainly(self, tokens: int) -> Filled:
        """Fill with the first stage's top k, as large a k as fits: the usual way without a second pass."""
        return self._first_stage(Selection(duplicates="keep", policy="prefix", budget=self._settings.budget(tokens)))

    def by_rules(self, tokens: int, rules: Selection) -> Filled:
        """Fill in the first stage's order by a second pass's own rules: what those gain without its scores."""
        return self._first_stage(replace(rules, budget=self._settings.budget(tokens)))

    def second(self, tokens: int, system: System, passes: Iterable[Pass]) -> Filled:
        """Fill with what a second pass keeps; its scores are those of the pass."""
        selection = replace(system.fills, budget=self._settings.budget(tokens))
        judged = {done.query: done.judged for done in passes}
        return self._filled((judged[query] for query in self._tests), selection)

    def _first_stage(self, selection: Selection) -> Filled:
        run = self._collection.run
        return self._filled((_in_first_order(run[query]) for query in self._tests), selection)

    def _filled(self, judged: Iterable[Sequence[Judged]], selection: Selection) -> Filled:
        chosen = [choose(candidates, selection) for candidates in judged]
        hits = [
            float(any(map(test, selected.kept))) for test, selected in zip(self._tests.values(), chosen, strict=True)
        ]
        return Filled(tuple(hits), tuple(selected.tokens or 0 for selected in chosen))


def _asked(collection: Collection) -> Iterable[str]:
    return collection.answers or collection.qrels


def _test(collection: Collection, query: str, relevant_from: int) -> Callable[[Kept], bool]:
    if collection.answers:
        holds = holds_any(collection.answers[query])
        return lambda kept: holds(kept.text)
    grades = collection.qrels[query]
    relevant = {_read(item) for item in collection.run[query] if grades.get(str(item.id), 0) >= relevant_from}
    return lambda kept: _read(kept.candidate) in relevant


def _read(candidate: Candidate) -> str:
    """Return what stands for an item: a duplicate under another id tells the reader just as much."""
    return candidate.reading.strip()


def _in_first_order(candidates: Sequence[Candidate]) -> list[Judged]:
    """Return candidates judged by their rank alone; without a probability no threshold applies to them."""
    return [
        Judged(candidate, Score(-float(rank)), None, None, rank) for rank, candidate in enumerate(candidates, start=1)
    ]
