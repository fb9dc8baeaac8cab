"""Near-duplicates and maximal marginal relevance among the candidates, compared by their shingles.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries",
SIGIR 1998: the next candidate is the one with the highest ``(1 - diversity) * relevance - diversity * similarity``,
where the similarity is the largest to a kept one. Relevance is the probability; with fusion, or on a scale without
probabilities, it is the value that decides the order, scaled to 0 to 1.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from secondpass.ranking import Ranked
from secondpass.selection.filters import Identity
from secondpass.selection.order import relevances
from secondpass.selection.shingles import Shingles

Numbers = npt.NDArray[np.float64]


class Redundancy:
    """What the candidates of one query have in common.

    :param ranked: The candidates, best first.
    :param identities: Their identities.
    :param near: The similarity from which a candidate is a near-duplicate of a kept one; None compares none.
    :param diversity: The weight of the similarity, from 0 to 1.
    """

    def __init__(
        self, ranked: Sequence[Ranked], identities: Sequence[Identity], near: float | None, diversity: float
    ) -> None:
        self.shingles = Shingles([item.body for item in identities], [item.frame for item in identities])
        self.near = near
        self.diversity = diversity
        self.relevance: Numbers = np.array(relevances(ranked), float)
        self.scored = np.array([item.score is not None for item in ranked])

    def nearest(self, positions: Sequence[int], chosen: Sequence[int]) -> list[tuple[int, float]]:
        """Return for each position which of the kept is most similar, and the similarity."""
        similarities = np.array([self.shingles.similarities(kept)[positions] for kept in chosen])
        rows = similarities.argmax(axis=0)
        return [(chosen[row], float(similarities[row, column])) for column, row in enumerate(rows)]

    def compared_with(self, chosen: Sequence[int]) -> "Comparison":
        """Return the comparison with the kept, given by their positions, to which the caller may add."""
        return Comparison(self, chosen)


class Comparison:
    """How similar each candidate is to those that are kept so far.

    :param redundancy: What the candidates have in common.
    :param chosen: The positions of the kept, which the caller adds to.
    """

    def __init__(self, redundancy: Redundancy, chosen: Sequence[int]) -> None:
        self._redundancy = redundancy
        self._chosen = chosen
        self._compared = 0
        candidates = len(redundancy.relevance)
        self._similarity: Numbers = np.zeros(candidates)
        self._copied_similarity: Numbers = np.zeros(candidates)
        self._copied = np.full(candidates, -1)

    def original(self, position: int) -> tuple[int, float]:
        """Return the kept candidate of which one is a near-duplicate, or -1, and the similarity."""
        self._update()
        return int(self._copied[position]), float(self._copied_similarity[position])

    def by_marginal_relevance(self, waiting: Sequence[int]) -> Iterator[int]:
        """Yield these positions, each time the one with the highest marginal relevance; ties by relevance."""
        weight, relevance = self._redundancy.diversity, self._redundancy.relevance
        if not weight:
            yield from waiting
            return
        base = (1 - weight) * relevance
        base[~self._redundancy.scored] -= 2  # margins are within -1 and 1: those without a score follow
        left = np.full(len(relevance), -np.inf)
        left[waiting] = 0
        margin: Numbers | None = None
        for _ in waiting:
            if self._update() or margin is None:
                margin = base - weight * self._similarity + left
            position = int(margin.argmax())
            left[position] = margin[position] = -np.inf
            yield position

    def _update(self) -> bool:
        """Compare with those that were kept since the last time, and return whether there are any."""
        new = self._chosen[self._compared :]
        for kept in new:
            similarities = self._redundancy.shingles.similarities(kept)
            np.maximum(self._similarity, similarities, out=self._similarity)
            if self._redundancy.near is not None:
                for position, similarity in self._redundancy.shingles.duplicates(kept, self._redundancy.near):
                    if similarity > self._copied_similarity[position]:
                        self._copied[position], self._copied_similarity[position] = kept, similarity
        self._compared += len(new)
        return bool(new)
