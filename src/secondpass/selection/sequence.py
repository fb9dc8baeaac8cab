"""The sequence in which candidates are packed: by relevance, by marginal relevance, or first within sources' shares.

It depends on what is kept so far: a candidate that doesn't fit makes no other one a duplicate or less diverse.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from secondpass.ranking import Dropped, Ranked, Reason
from secondpass.selection.filters import drop

if TYPE_CHECKING:
    from secondpass.selection.diversity import Comparison, Redundancy


class Choice(Protocol):
    """What is kept so far.

    :param target: What the sum of their tokens may reach.
    :param chosen: The positions of the kept, in the sequence in which they were packed.
    :param costs: The tokens that each of them takes.
    """

    target: int
    chosen: list[int]
    costs: list[int]


class Step(NamedTuple):
    """A candidate that is to be packed next.

    :param position: Its position.
    :param limit: The tokens that are left of its source's share, after which it's tried again; None for no limit.
    :param duplicate: Its record where it is a near-duplicate of a kept one, and therefore dropped.
    """

    position: int
    limit: int | None = None
    duplicate: Dropped | None = None


class PackingSequence:
    """Determines which candidate is packed next.

    :param ranked: The candidates, best first.
    :param near: The similarity from which a candidate is a near-duplicate of a kept one; None compares none.
    :param diversity: The weight of the similarity in marginal relevance, from 0 to 1.
    :param shares: The part of the budget that each source may fill before others do.
    :param strict: Whether a source's further candidates wait once one of them didn't fit its share.
    """

    def __init__(
        self,
        ranked: Sequence[Ranked],
        *,
        near: float | None = None,
        diversity: float = 0.0,
        shares: Mapping[str, float] | None = None,
        strict: bool = False,
    ) -> None:
        self._ranked = ranked
        self._positions = {item.rank_before: position for position, item in enumerate(ranked)}
        self._diverse = bool(diversity)
        self._shares = shares or {}
        self._strict = strict
        self._redundancy = _redundancy(ranked, near, diversity)

    def position(self, item: Ranked) -> int:
        """Return the position of a candidate."""
        return self._positions[item.rank_before]

    def steps(self, choice: Choice) -> Iterator[Step]:
        """Yield each candidate once, or with shares a second time where it wasn't kept at the first.

        :param choice: What is kept so far, which the caller adds to between two steps.
        """
        comparison = self._redundancy.compared_with(choice.chosen) if self._redundancy else None
        waiting: Sequence[int] = range(len(self._ranked))
        if self._shares:
            waiting = []
            yield from self._within_shares(choice, comparison, waiting)
            waiting.sort()
        for position in self._in_order(waiting, comparison):
            yield Step(position, duplicate=self._duplicate(position, comparison))

    def displaced(
        self, dropped: Sequence[Dropped], chosen: Sequence[int], would_fit: Callable[[Dropped], bool]
    ) -> list[Dropped]:
        """Return the dropped, best first, with ``Reason.DIVERSITY`` where less relevant candidates took their place.

        :param dropped: The records of the dropped.
        :param chosen: The positions of the kept, in rising order.
        :param would_fit: Whether a candidate would be kept in the place of the less relevant ones.
        """
        records = sorted(dropped, key=self.position)
        if not self._diverse or not chosen or self._redundancy is None:
            return records
        no_space = (Reason.OVER_TOP_K, Reason.OVER_BUDGET)
        before = [(index, item) for index, item in enumerate(records) if self.position(item) < chosen[-1]]
        fitting = [(index, item) for index, item in before if item.reason in no_space and would_fit(item)]
        nearest = self._redundancy.nearest([self.position(item) for _, item in fitting], chosen)
        for (index, item), (kept, similarity) in zip(fitting, nearest, strict=True):
            if similarity:
                detail = f"similarity {similarity:.2f}; less relevant candidates differ more"
                original = self._ranked[kept].candidate
                records[index] = replace(item, reason=Reason.DIVERSITY, detail=detail, because_of=original)
        return records

    def _within_shares(self, choice: Choice, comparison: "Comparison | None", waiting: list[int]) -> Iterator[Step]:
        """Yield the candidates of sources that have a share left; add those that weren't kept to ``waiting``."""
        used: defaultdict[str | None, int] = defaultdict(int)
        full: set[str | None] = set()
        for position in self._in_order(range(len(self._ranked)), comparison):
            source, kept = self._ranked[position].candidate.source, len(choice.chosen)
            limit = int(self._shares.get(source or "", 0.0) * choice.target) - used[source]
            duplicate = self._duplicate(position, comparison)
            if duplicate or (limit > 0 and source not in full):
                yield Step(position, limit, duplicate)
            if len(choice.chosen) > kept:
                used[source] += choice.costs[-1]
            elif not duplicate:
                waiting.append(position)
                full |= {source} if self._strict else set()

    def _duplicate(self, position: int, comparison: "Comparison | None") -> Dropped | None:
        original, similarity = comparison.original(position) if comparison else (-1, 0.0)
        if original < 0:
            return None
        kept = self._ranked[original].candidate
        return drop(self._ranked[position], Reason.DUPLICATE, f"similarity {similarity:.2f}", kept)

    def _in_order(self, waiting: Sequence[int], comparison: "Comparison | None") -> Iterator[int]:
        return comparison.by_marginal_relevance(waiting) if comparison else iter(waiting)


def _redundancy(ranked: Sequence[Ranked], near: float | None, diversity: float) -> "Redundancy | None":
    """Compare the candidates; None where they needn't be, and numpy isn't loaded."""
    if not ranked or (near is None and not diversity):
        return None
    from secondpass.selection.diversity import Redundancy

    return Redundancy(ranked, near, diversity)
