"""Attempts: choices of candidates, of which only one whose joined text was counted and fits the budget is returned.

An attempt is chosen by the sum of the tokens of its parts. A joined text can take more or fewer tokens than that sum,
so the joined text of each attempt is counted too, and corrects the sum that the next one may reach. The number of
attempts is bounded, so that the work is linear in the length of the texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from secondpass.ranking import Dropped, Kept, Ranked, Reason
from secondpass.selection.filters import drop

MAX_ATTEMPTS = 8  # where counts add up, the first attempt is the last
LONGEST_TOKEN = 256  # characters; a text of more than this many for each token left is dropped uncounted


class Packed(NamedTuple):
    """What fits the budget.

    :param kept: The candidates that fit, in reading order.
    :param dropped: The others, best first.
    :param context: The joined text.
    :param tokens: The tokens of the joined text, 0 if nothing was kept; None without a budget.
    :param nothing_fits: The figures where there were candidates and none fits; else empty.
    """

    kept: list[Kept]
    dropped: list[Dropped]
    context: str
    tokens: int | None
    nothing_fits: str = ""


@dataclass(slots=True)
class PackingAttempt:
    """A choice of candidates.

    :param target: What the sum of their tokens may reach.
    :param kept: The chosen, best first.
    :param dropped: The others, best first.
    :param chosen: The positions of the chosen, in the sequence in which they were packed until ``sort`` is called.
    :param costs: What each of them adds to ``total``.
    :param total: The sum of the tokens of the chosen and of the separators between them.
    :param context: The joined text of the chosen.
    :param tokens: The tokens of the joined text.
    :param full: Why no further candidate is looked at; empty while they are.
    """

    target: int
    kept: list[Kept] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    total: int = 0
    context: str = ""
    tokens: int = 0
    full: str = ""

    @property
    def left(self) -> int:
        """The tokens that are left for further candidates."""
        return self.target - self.total

    def add(self, position: int, item: Kept, cost: int) -> None:
        """Add a candidate."""
        self.kept.append(item)
        self.chosen.append(position)
        self.costs.append(cost)
        self.total += cost

    def sort(self) -> None:
        """Bring the chosen, which may have been packed in another sequence, into the order by relevance."""
        order = sorted(range(len(self.chosen)), key=self.chosen.__getitem__)
        if order == list(range(len(order))):
            return
        self.kept = [replace(self.kept[index], rank=rank) for rank, index in enumerate(order, start=1)]
        self.costs = [self.costs[index] for index in order]
        self.chosen.sort()


def best_attempt(attempt: Callable[[int], PackingAttempt], max_tokens: int) -> PackingAttempt | None:
    """Return the fullest of several attempts that fits the budget, or None if none does.

    :param attempt: Makes a choice whose tokens add up to a target at most.
    :param max_tokens: The budget, which is the first target.
    """
    best: PackingAttempt | None = None
    above: PackingAttempt | None = None
    target = max_tokens
    for number in range(MAX_ATTEMPTS):
        tried = attempt(target)
        if tried.tokens <= max_tokens:
            best = tried
        else:
            above = tried
        following = _next_target(best, above, max_tokens, halve=number % 2 == 1)
        if following is None:
            break
        target = following
    return best


def _next_target(best: PackingAttempt | None, above: PackingAttempt | None, limit: int, *, halve: bool) -> int | None:
    """Return the next attempt's target, or None where no other attempt can be expected to fit better.

    Joined tokens are taken as proportional to their sum, and one more candidate as saving what each saved so far. Once
    an attempt is too large, the target is interpolated between it and the best that fits, or is halfway between them,
    which bounds the search where joined tokens grow faster than their sum.

    :param best: The attempt with the highest target of those that fit the budget.
    :param above: The latest attempt that exceeds it.
    :param limit: The budget.
    :param halve: Whether to go halfway instead of interpolating.
    """
    floor, total, tokens = (best.target, best.total, best.tokens) if best else (0, 0, 0)
    if best and not above:
        target = total * limit // max(1, tokens) - (tokens - total) // max(1, len(best.kept) - 1)
        return target if target > floor else None
    if above is None or above.total - floor <= 1:
        return None
    share = (limit - tokens) / (above.tokens - tokens)
    target = (floor + above.total) // 2 if halve else int(total + share * (above.total - total))
    return min(max(target, floor + 1), above.total - 1)


def over_top_n(ranked: Ranked, top_n: int | None) -> Dropped:
    """Return the record of a candidate beyond the best ``top_n``."""
    return drop(ranked, Reason.OVER_TOP_N, f"top_n is {top_n}")


def keep(
    ranked: Ranked, text: str, rank: int, tokens: int | None, cut: int = 0, spans: Sequence[tuple[int, int]] = ()
) -> Kept:
    """Return the record of a kept candidate."""
    spans = tuple(spans) or ((0, len(text)),)
    return Kept(*ranked.common(), text=text, spans=spans, rank=rank, tokens=tokens, cut=cut)
