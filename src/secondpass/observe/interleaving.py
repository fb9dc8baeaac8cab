"""Interleaving: two rerankers compared by the clicks on one merged list, with a test that may be read at any time."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Literal

from secondpass.errors import ConfigurationError, InputError
from secondpass.ranking import Kept, Ranking

Side = Literal["first", "second"]


@dataclass(frozen=True, slots=True)
class Interleaved:
    """A merged list of two rankings, and which of them chose each item.

    :param kept: The items to show, in their order.
    :param sides: Who chose each; None for items behind the draft, whose clicks count for neither.
    """

    kept: tuple[Kept, ...]
    sides: tuple[Side | None, ...]

    def credit(self, clicked: Iterable[int]) -> int:
        """Return 1 where more clicks are on the first's items, -1 where more are on the second's, else 0.

        :param clicked: Positions of the list, from 0, that were clicked, cited or marked as useful; each counts once.
        :raises InputError: If a position isn't in the list.
        """
        positions = set(clicked)
        if wrong := [place for place in positions if not 0 <= place < len(self.sides)]:
            raise InputError(f"clicked positions must be from 0 to {len(self.sides) - 1}, got {wrong[0]!r}")
        clicks = [self.sides[place] for place in positions]
        first, second = clicks.count("first"), clicks.count("second")
        return (first > second) - (first < second)


def interleave(first: Ranking, second: Ranking, *, limit: int | None = None, seed: int | None = None) -> Interleaved:
    """Merge two rankings of the same candidates by team draft: in each turn both choose their best, by lot who begins.

    Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008. Each text is
    that of the ranking that chose it. Each ranking fits the budget; what is merged of both may not: set ``limit``.

    The draft takes as many of each ranking as the shorter one has, and ends where one of them may have none left to
    choose, so that neither has more items than the other; the rest follow by rank, without credit.

    :param first: One ranking.
    :param second: The other, of the same candidates in the same order.
    :param limit: The length of the list; None takes the longer ranking's.
    :param seed: Of the lots; None draws others each time.
    :raises InputError: If the rankings are of other queries or candidates.
    """
    if first.query != second.query or _candidates(first) != _candidates(second):
        raise InputError("interleaved rankings must be of one query and the same candidates in the same order")
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit must be 1 or more, got {limit!r}")
    lots = random.Random(seed)
    shorter, length = sorted((len(first.kept), len(second.kept)))
    length = length if limit is None else limit
    rankings = {"first": _by_rank(first.kept)[:shorter], "second": _by_rank(second.kept)[:shorter]}
    drafted: list[tuple[Kept, Side | None]] = []
    taken: set[int] = set()
    while len(drafted) < length:
        turn: list[Side] = ["first", "second"]
        lots.shuffle(turn)
        left = [[*islice((item for item in rankings[side] if item.index not in taken), 2)] for side in turn]
        if not all(left):
            break
        then = [
            [item for item in own if item.index != other[0].index]
            for own, other in zip(left, reversed(left), strict=True)
        ]
        if not all(then):  # whoever began, so that the lot doesn't decide where the draft ends
            break
        picks = left[0][0], then[1][0]
        drafted += zip(picks, turn, strict=True)
        taken |= {item.index for item in picks}
    rest = {item.index: item for item in _by_rank((*first.kept, *second.kept)) if item.index not in taken}
    drafted += [(item, None) for item in rest.values()]
    kept, sides = zip(*drafted[:length], strict=True) if drafted else ((), ())
    return Interleaved(kept, sides)


@dataclass(slots=True)
class Preference:
    """Wins of two sides, and a test that holds however often it is read: stop as soon as ``decided``.

    The null hypothesis is that either side is as likely to win; ties don't count. The test statistic is the ratio of
    the likelihood under a Beta(``prior``, ``prior``) mixture of win rates to that of 1/2, a martingale, which exceeds
    ``1 / alpha`` with a probability of at most alpha, ever (Ville's inequality): Robbins, "Statistical methods
    related to the law of the iterated logarithm", 1970; Johari et al., "Always valid inference: continuous
    monitoring of A/B tests", Operations Research 70(3), 2022.

    :param alpha: The probability of deciding where there is no difference.
    :param prior: Higher finds small preferences sooner and large ones later.
    :param first: Wins of the first side.
    :param second: Wins of the second side.
    :param ties: Impressions without a winner.
    :raises ConfigurationError: If a setting is out of its range.
    """

    alpha: float = 0.05
    prior: float = 10.0
    first: int = 0
    second: int = 0
    ties: int = 0
    _highest: float = field(default=0.0, init=False, repr=False)  # the largest log ratio so far
    _decided: Side | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        if not (0 < self.alpha < 1 and 0 < self.prior < math.inf and min(self.first, self.second, self.ties) >= 0):
            raise ConfigurationError(f"alpha must be between 0 and 1, prior above 0 and counts 0 or more, got {self!r}")
        self._read()

    def add(self, credit: int) -> None:
        """Count one impression: 1 for the first side, -1 for the second, 0 for a tie, as ``Interleaved.credit`` gives.

        :raises InputError: For another number.
        """
        if credit not in (-1, 0, 1):
            raise InputError(f"a credit must be 1, -1 or 0, got {credit!r}")
        self.first, self.second = self.first + (credit > 0), self.second + (credit < 0)
        self.ties += credit == 0
        self._read()

    @property
    def p_value(self) -> float:
        """The always-valid p-value; it never rises."""
        return math.exp(-self._highest)

    @property
    def decided(self) -> Side | None:
        """The better side; None while the test hasn't decided. What comes afterwards doesn't change it."""
        return self._decided

    @property
    def share(self) -> tuple[float, float, float]:
        """The first side's share of the wins, and the ends of its interval, which may be read at any time as well."""
        wins = self.first + self.second
        if not wins:
            return 0.5, 0.0, 1.0
        share = self.first / wins
        return share, self._end(0.0, share), self._end(1.0, share)

    def _read(self) -> None:
        """Test the present counts."""
        self._highest = max(self._highest, self._log_ratio(0.5))
        if self._decided is None and self.p_value <= self.alpha:
            self._decided = "first" if self.first > self.second else "second"

    def _end(self, outside: float, inside: float) -> float:
        """Find by bisection where the log ratio crosses ``log(1 / alpha)``."""
        for _ in range(60):
            middle = (outside + inside) / 2
            rejected = self._log_ratio(middle) > -math.log(self.alpha)
            outside, inside = (middle, inside) if rejected else (outside, middle)
        return outside

    def _log_ratio(self, rate: float) -> float:
        """Return the log of the ratio of the mixture's likelihood to that of one win rate."""
        a, b, prior = self.first, self.second, self.prior
        if (a and rate <= 0) or (b and rate >= 1):
            return math.inf
        likelihood = (a * math.log(rate) if a else 0.0) + (b * math.log1p(-rate) if b else 0.0)
        return _log_beta(prior + a, prior + b) - _log_beta(prior, prior) - likelihood


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _by_rank(kept: Iterable[Kept]) -> list[Kept]:
    """Return the kept in the order of relevance, whatever the order of reading."""
    return sorted(kept, key=attrgetter("rank"))


def _candidates(ranking: Ranking) -> list[tuple[int, str]]:
    return sorted((item.index, item.candidate.text) for item in (*ranking.kept, *ranking.dropped))
