"""The sequence in which candidates are packed, by relevance or by marginal relevance, and what is passed over in it.

Both depend on what is kept so far: a candidate that doesn't fit makes no other one a duplicate or less diverse, and
takes no place of its source.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from secondpass.ranking import Dropped, Ranked, Reason
from secondpass.selection.budget import ContextBudget
from secondpass.selection.filters import SAME, Identity, drop, identity

if TYPE_CHECKING:
    from secondpass.selection.similarity import Redundancy


@dataclass(frozen=True, slots=True)
class Rules:
    """What depends on the kept candidates; without settings nothing does.

    :param copies: Whether copies of a kept candidate are dropped.
    :param near: The similarity from which a candidate is a near-duplicate of a kept one; None compares none.
    :param diversity: The weight of the similarity in marginal relevance, from 0 to 1.
    :param max_per_source: The most candidates of one source; None for no limit.
    :param max_unscored: The most candidates without a score; None for no limit.
    """

    copies: bool = False
    near: float | None = None
    diversity: float = 0.0
    max_per_source: int | None = None
    max_unscored: int | None = None


class PackingSequence:
    """Determines which candidate is packed next.

    :param ranked: The candidates, best first.
    :param rules: What depends on the kept.
    :param budget: The budget, whose template says what the LLM reads.
    """

    def __init__(
        self, ranked: Sequence[Ranked], rules: Rules | None = None, budget: ContextBudget | None = None
    ) -> None:
        self.ranked = ranked
        self.rules = rules or Rules()
        self._positions = {item.rank_before: position for position, item in enumerate(ranked)}
        self._budget = budget

    @cached_property
    def identities(self) -> list[Identity]:
        """What makes each candidate the same as another."""
        return [identity(item.candidate, self._budget) for item in self.ranked]

    @cached_property
    def redundancy(self) -> "Redundancy | None":
        """What the candidates have in common; None where they needn't be compared, and numpy isn't loaded."""
        if not self.ranked or (self.rules.near is None and not self.rules.diversity):
            return None
        from secondpass.selection.similarity import Redundancy

        return Redundancy(self.ranked, self.identities, self.rules.near, self.rules.diversity)

    def position(self, item: Ranked) -> int:
        """Return the position of a candidate."""
        return self._positions[item.rank_before]

    def steps(self, chosen: Sequence[int]) -> Iterator[tuple[int, Dropped | None]]:
        """Yield each candidate's position, and its record where the kept rule it out, and it is so dropped.

        :param chosen: The positions of the kept, which the caller adds to between two steps.
        """
        refusals = Refusals(self, chosen)
        for position in refusals.by_marginal_relevance():
            yield position, refusals.of(position)

    def best(self, count: int) -> set[int]:
        """Return the first-stage ranks of the best that the rules keep together, whatever their tokens."""
        chosen: list[int] = []
        refusals = Refusals(self, chosen) if count else None
        for position in range(len(self.ranked)):
            if refusals is None or len(chosen) == count:
                break
            if not refusals.of(position):
                chosen.append(position)
        return {self.ranked[position].rank_before for position in chosen}

    def copies(self) -> set[int]:
        """Return the first-stage ranks of candidates that are copies of better ones."""
        if not self.rules.copies:
            return set()
        firsts = {own: at for at, own in reversed([*enumerate(self.identities)])}
        return {self.ranked[at].rank_before for at, own in enumerate(self.identities) if firsts[own] < at}

    def displaced(
        self, dropped: Sequence[Dropped], chosen: Sequence[int], would_fit: Callable[[Dropped], bool]
    ) -> list[Dropped]:
        """Return the dropped, best first, with ``Reason.DIVERSITY`` where less relevant candidates took their place.

        :param dropped: The records of the dropped.
        :param chosen: The positions of the kept, in rising order.
        :param would_fit: Whether a candidate would be kept in the place of the less relevant ones.
        """
        records = sorted(dropped, key=self.position)
        if self.redundancy is None or not self.rules.diversity or not chosen:
            return records
        no_space = (Reason.OVER_TOP_N, Reason.OVER_BUDGET)
        before = [(index, item) for index, item in enumerate(records) if self.position(item) < chosen[-1]]
        fitting = [(index, item) for index, item in before if item.reason in no_space and would_fit(item)]
        nearest = self.redundancy.nearest([self.position(item) for _, item in fitting], chosen)
        for (index, item), (kept, similarity) in zip(fitting, nearest, strict=True):
            if similarity:
                detail = f"similarity {similarity:.2f}; less relevant candidates differ more"
                original = self.ranked[kept].candidate
                records[index] = replace(item, reason=Reason.DIVERSITY, detail=detail, because_of=original)
        return records


class Refusals:
    """Which candidates the kept rule out: their copies and near-duplicates, and what is over a limit.

    :param sequence: The candidates and the rules.
    :param chosen: The positions of the kept, which the caller adds to.
    """

    def __init__(self, sequence: PackingSequence, chosen: Sequence[int]) -> None:
        self._sequence = sequence
        self._chosen = chosen
        self._counted = 0
        self._firsts: dict[Identity, int] = {}
        self._of_source: Counter[str | None] = Counter()
        self._unscored = 0
        self._comparison = sequence.redundancy and sequence.redundancy.compared_with(chosen)

    def by_marginal_relevance(self) -> Iterator[int]:
        """Yield the positions, each time the one with the highest marginal relevance."""
        positions = range(len(self._sequence.ranked))
        return self._comparison.by_marginal_relevance(positions) if self._comparison else iter(positions)

    def of(self, position: int) -> Dropped | None:
        """Return the record of a candidate that the kept rule out; None where they don't."""
        self._count()
        item, rules = self._sequence.ranked[position], self._sequence.rules
        same = self._firsts.get(self._sequence.identities[position]) if rules.copies else None
        if same is not None:
            return drop(item, Reason.DUPLICATE, SAME, self._sequence.ranked[same].candidate)
        if self._comparison and rules.near is not None:
            original, similarity = self._comparison.original(position)
            if original >= 0:
                kept = self._sequence.ranked[original].candidate
                return drop(item, Reason.DUPLICATE, f"similarity {similarity:.2f}", kept)
        most = rules.max_per_source
        if most is not None and item.candidate.source and self._of_source[item.candidate.source] >= most:
            return drop(item, Reason.OVER_SOURCE_LIMIT, f"at most {most} of one source")
        most = rules.max_unscored
        if most is not None and item.score is None and self._unscored >= most:
            return drop(item, Reason.OVER_TOP_N, f"at most {most} candidates without a score")
        return None

    def _count(self) -> None:
        """Count those that were kept since the last time."""
        for position in self._chosen[self._counted :]:
            item = self._sequence.ranked[position]
            self._of_source[item.candidate.source] += 1
            self._unscored += item.score is None
            if self._sequence.rules.copies:
                self._firsts.setdefault(self._sequence.identities[position], position)
        self._counted = len(self._chosen)
