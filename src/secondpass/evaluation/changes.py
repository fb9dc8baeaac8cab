"""The queries that a second pass won and lost most, with the candidates that moved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from secondpass.evaluation.collection import Collection
from secondpass.evaluation.systems import Pass

_READ = 10  # ranks that a reader looks at: what moved below them, before and after, explains little


@dataclass(frozen=True, slots=True)
class Moved:
    """A candidate whose rank changed.

    :param id: The text's id.
    :param before: Its rank in the first stage, counted from 1.
    :param after: Its rank after the second pass; None where that dropped it.
    :param grade: How it was judged; None where it wasn't.
    :param score: The model's raw score; None where it gave none.
    :param text: How the text begins.
    """

    id: str
    before: int
    after: int | None
    grade: int | None
    score: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A query that got better or worse.

    :param query: Its id.
    :param text: The question.
    :param before: The measure's value without the second pass.
    :param after: The value with it.
    :param moved: The candidates whose moves weigh most.
    """

    query: str
    text: str
    before: float
    after: float
    moved: tuple[Moved, ...]

    @property
    def gain(self) -> float:
        """After minus before."""
        return self.after - self.before


class Changes(NamedTuple):
    """The queries that gained most, and those that lost most, the greatest change first."""

    won: tuple[Changed, ...]
    lost: tuple[Changed, ...]


def most_changed(
    collection: Collection,
    passes: Sequence[Pass],
    before: Mapping[str, float],
    after: Mapping[str, float],
    shown: tuple[int, int],
) -> Changes:
    """Return the queries that gained most, and those that lost most, the greatest change first.

    :param collection: The judgements and questions.
    :param passes: The passes of one system.
    :param before: One measure's values without it, by query.
    :param after: The values with it.
    :param shown: How many queries on each side, and how many candidates for each.
    """
    queries, candidates = shown
    by_query = {done.query: done for done in passes}
    gains = sorted((after[query] - before[query], query) for query in before)
    won = [query for gain, query in reversed(gains) if gain > 0][:queries]
    lost = [query for gain, query in gains if gain < 0][:queries]

    def changed(query: str) -> Changed:
        moved = _moved(by_query[query], collection.qrels[query], candidates)
        return Changed(query, collection.queries[query], before[query], after[query], moved)

    return Changes(tuple(map(changed, won)), tuple(map(changed, lost)))


def _moved(done: Pass, grades: Mapping[str, int], limit: int) -> tuple[Moved, ...]:
    """Return the candidates whose moves weigh most, by the change of DCG's discount between the two ranks."""
    after = {key: rank for rank, key in enumerate(done.order, start=1)}
    found = [
        Moved(key, item.rank_before, after.get(key), grades.get(key), item.score, item.candidate.text[:200])
        for item, key in ((item, str(item.candidate.id)) for item in done.judged)
        if item.rank_before != after.get(key) and min(item.rank_before, after.get(key, math.inf)) <= _READ
    ]
    found.sort(key=lambda item: (-abs(_weight(item.before) - _weight(item.after)), item.before))
    return tuple(found[:limit])


def _weight(rank: int | None) -> float:
    """Return DCG's discount of a rank, ``1 / log2(1 + rank)``, and 0 for a candidate that isn't there."""
    return 0.0 if rank is None else 1 / math.log2(1 + rank)
