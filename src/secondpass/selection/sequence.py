"""The sequence in which candidates are packed: by relevance, or by marginal relevance.

It depends on what is kept so far: a candidate that doesn't fit makes no other one a duplicate or less diverse.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from secondpass.ranking import Dropped, Ranked, Reason
from secondpass.selection.filters import drop

if TYPE_CHECKING:
    from secondpass.selection.diversity import Comparison, Redundancy


class PackingSequence:
    """Determines which candidate is packed next.

    :param ranked: The candidates, best first.
    :param near: The similarity from which a candidate is a near-duplicate of a kept one; None compares none.
    :param diversity: The weight of the similarity in marginal relevance, from 0 to 1.
    """

    def __init__(self, ranked: Sequence[Ranked], *, near: float | None = None, diversity: float = 0.0) -> None:
        self._ranked = ranked
        self.diversity = diversity
        self._positions = {item.rank_before: position for position, item in enumerate(ranked)}
        self._redundancy = _redundancy(ranked, near, diversity)

    def position(self, item: Ranked) -> int:
        """Return the position of a candidate."""
        return self._positions[item.rank_before]

    def steps(self, chosen: Sequence[int]) -> Iterator[tuple[int, Dropped | None]]:
        """Yield each candidate's position, and its record where it is a near-duplicate of a kept one, and so dropped.

        :param chosen: The positions of the kept, which the caller adds to between two steps.
        """
        if self._redundancy is None:
            yield from ((position, None) for position in range(len(self._ranked)))
            return
        comparison = self._redundancy.compared_with(chosen)
        for position in comparison.by_marginal_relevance(range(len(self._ranked))):
            yield position, self._refusal(comparison, position)

    def refusals(self, chosen: Sequence[int]) -> Callable[[int], Dropped | None]:
        """Return what ``steps`` says of a position, for a caller that has a sequence of its own."""
        if self._redundancy is None:
            return lambda _position: None
        return partial(self._refusal, self._redundancy.compared_with(chosen))

    def _refusal(self, comparison: "Comparison", position: int) -> Dropped | None:
        original, similarity = comparison.original(position)
        if original < 0:
            return None
        kept, detail = self._ranked[original].candidate, f"similarity {similarity:.2f}"
        return drop(self._ranked[position], Reason.DUPLICATE, detail, kept)

    def displaced(
        self, dropped: Sequence[Dropped], chosen: Sequence[int], would_fit: Callable[[Dropped], bool]
    ) -> list[Dropped]:
        """Return the dropped, best first, with ``Reason.DIVERSITY`` where less relevant candidates took their place.

        :param dropped: The records of the dropped.
        :param chosen: The positions of the kept, in rising order.
        :param would_fit: Whether a candidate would be kept in the place of the less relevant ones.
        """
        records = sorted(dropped, key=self.position)
        if self._redundancy is None or not self._redundancy.diversity or not chosen:
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


def _redundancy(ranked: Sequence[Ranked], near: float | None, diversity: float) -> "Redundancy | None":
    """Compare the candidates; None where they needn't be, and numpy isn't loaded."""
    if not ranked or (near is None and not diversity):
        return None
    from secondpass.selection.diversity import Redundancy

    return Redundancy(ranked, near, diversity)
