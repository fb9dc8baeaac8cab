"""Adaptive k: how many candidates are relevant, by the scores of one query's candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from secondpass.errors import ConfigurationError, checked


class Cutoff(NamedTuple):
    """The lowest value that passes, and why, in words."""

    value: float
    detail: str


@checked
@dataclass(frozen=True, slots=True)
class LargestGap:
    """Keep the candidates above the largest gap between two neighbouring probabilities.

    On a scale without probabilities, a gap is measured in the scores, as a share of their range.

    :param min_gap: The smallest gap that counts, from 0 to 1; where there is none, all candidates pass.
    :raises ConfigurationError: If it is out of its range.
    """

    min_gap: float = 0.2

    def __post_init__(self) -> None:
        """Check the setting."""
        if not (0 <= self.min_gap <= 1):
            raise ConfigurationError(f"min_gap must be within 0 and 1, got {self.min_gap!r}")

    def cutoff(self, values: Sequence[float], *, probabilities: bool) -> Cutoff | None:
        """Return the value above the largest gap, or None where none counts.

        :param values: Probabilities or scores, highest first.
        :param probabilities: Whether they are probabilities.
        """
        if len(values) < 2:
            return None
        gap, above, below = max((above - below, above, below) for above, below in pairwise(values))
        if not gap or gap < self.min_gap * (1.0 if probabilities else values[0] - values[-1]):
            return None
        return Cutoff(above, f"the largest gap is from {above:.4f} to {below:.4f}")


@checked
@dataclass(frozen=True, slots=True)
class CoveredMass:
    """Keep the fewest candidates whose probabilities add up to a share of the sum of all candidates'.

    The sum of the probabilities is the expected number of relevant candidates. A long tail of improbable candidates
    adds to it, so that a minimum probability, which is applied before, makes the result smaller.

    :param mass: The share, above 0 and at most 1.
    :raises ConfigurationError: If it is out of its range.
    """

    mass: float = 0.9

    def __post_init__(self) -> None:
        """Check the setting."""
        if not (0 < self.mass <= 1):
            raise ConfigurationError(f"mass must be above 0 and at most 1, got {self.mass!r}")

    def cutoff(self, values: Sequence[float], *, probabilities: bool) -> Cutoff | None:
        """Return the lowest of the probabilities that are needed, or None where there are no probabilities.

        :param values: Probabilities, highest first.
        :param probabilities: Whether they are probabilities.
        """
        if not probabilities:
            return None
        needed = self.mass * sum(values)
        sums = accumulate(values)
        value = next((value for value, covered in zip(values, sums, strict=True) if covered >= needed), 0.0)
        return Cutoff(value, f"those from {value:.4f} cover {self.mass:.0%} of the probability")


Adaptive = LargestGap | CoveredMass
"""The rules by which a query's own scores decide how many candidates are kept."""
