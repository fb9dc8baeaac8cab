"""Packing candidates into a context budget, best first: the joined text never takes more tokens than the budget.

Each candidate is counted once by itself, and a draft is chosen by the sum of these counts. A joined text can take more
or fewer tokens than that sum, so the joined text of each draft is counted too, and corrects the sum that the next draft
may reach. Only a draft whose joined text fits is returned. The number of drafts is bounded, so that the work is linear
in the length of the texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from secondpass.ranking import Dropped, Kept, Ranked, Reason
from secondpass.selection.budget import ContextBudget
from secondpass.selection.cutting import Cutter
from secondpass.selection.filters import drop
from secondpass.selection.order import Order, in_reading_order

Policy = Literal["fill", "prefix", "truncate"]
POLICIES: tuple[Policy, ...] = ("fill", "prefix", "truncate")

DEFAULT_SEPARATOR = "\n\n"  # between texts where there is no budget that says how they are joined

MAX_DRAFTS = 8  # where counts add up, the first draft is the last
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


def pack(
    ranked: Sequence[Ranked],
    budget: ContextBudget,
    policy: Policy = "fill",
    order: Order = "relevance",
    top_k: int | None = None,
) -> Packed:
    """Pack candidates, given best first, into the budget, until ``top_k`` are kept or there are no more.

    ``"fill"`` skips a candidate that doesn't fit and goes on, ``"prefix"`` stops at the first that doesn't fit,
    ``"truncate"`` cuts the first that doesn't fit and stops there; where no beginning of it fits, it is skipped.
    """
    packer = _Packer(ranked, budget, policy, order, top_k)
    best: _Draft | None = None
    above: _Draft | None = None
    target = budget.max_tokens
    for attempt in range(MAX_DRAFTS):
        draft = packer.draft(target)
        if draft.tokens <= budget.max_tokens:
            best = draft
        else:
            above = draft
        following = _next_target(best, above, budget.max_tokens, halve=attempt % 2 == 1)
        if following is None:
            break
        target = following
    if best is None or not best.kept:
        best = packer.draft(budget.max_tokens, most=1)  # the best that fits alone: its joined text is already counted
    nothing_fits = packer.smallest() if ranked and not best.kept else ""
    return Packed(in_reading_order(best.kept, order), best.dropped, best.context, best.tokens, nothing_fits)


def pack_unlimited(ranked: Sequence[Ranked], order: Order, top_k: int | None) -> Packed:
    """Keep the first ``top_k`` candidates, given best first, whole and uncounted."""
    kept = [_kept(item, item.candidate.reading, rank, None) for rank, item in enumerate(ranked[:top_k], start=1)]
    dropped = [_over_top_k(item, top_k) for item in ranked[len(kept) :]]
    kept = in_reading_order(kept, order)
    return Packed(kept, dropped, DEFAULT_SEPARATOR.join(item.text for item in kept), None)


def _over_top_k(ranked: Ranked, top_k: int | None) -> Dropped:
    return drop(ranked, Reason.OVER_TOP_K, f"top-k is {top_k}")


def _kept(ranked: Ranked, text: str, rank: int, tokens: int | None, cut: int = 0) -> Kept:
    return Kept(
        ranked.candidate,
        ranked.index,
        ranked.outcome,
        ranked.probability,
        ranked.fused,
        ranked.rank_before,
        text=text,
        spans=((0, len(text)),),
        rank=rank,
        tokens=tokens,
        cut=cut,
    )


@dataclass(slots=True)
class _Draft:
    """A choice of candidates.

    :param target: What the sum of their tokens may reach.
    :param kept: The chosen, best first.
    :param dropped: The others, best first.
    :param total: The sum of the tokens of the chosen and of the separators between them.
    :param context: The joined text of the chosen.
    :param tokens: The tokens of the joined text.
    :param full: Why no further candidate is looked at; empty while they are.
    """

    target: int
    kept: list[Kept] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    total: int = 0
    context: str = ""
    tokens: int = 0
    full: str = ""

    @property
    def left(self) -> int:
        """The tokens that are left for further candidates."""
        return self.target - self.total


def _next_target(best: _Draft | None, above: _Draft | None, limit: int, *, halve: bool) -> int | None:
    """Return the next draft's target, or None where no other draft can be expected to fit better.

    Joined tokens are taken as proportional to their sum, and one more candidate as saving what each saved so far. Once
    a draft is too large, the target is interpolated between that draft and the best that fits, or is halfway between
    them, which bounds the search where joined tokens grow faster than their sum.

    :param best: The draft with the highest target of those that fit the budget.
    :param above: The latest draft that exceeds it.
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


class _Packer:
    """Drafts choices of candidates, and counts each candidate and each joined text only once."""

    def __init__(
        self, ranked: Sequence[Ranked], budget: ContextBudget, policy: Policy, order: Order, top_k: int | None
    ) -> None:
        self._ranked = ranked
        self._budget = budget
        self._policy = policy
        self._order = order
        self._top_k = top_k
        self._overhead = max(0, budget.counting.count(""))  # what the counter adds to any text
        self._separator = max(0, budget.counting.count(budget.separator) - self._overhead)
        self._counts: dict[tuple[int, int], int] = {}
        self._cutters: dict[int, Cutter] = {}
        self._joined: dict[tuple[tuple[int, int], ...], tuple[str, int]] = {}

    def draft(self, target: int, most: int | None = None) -> _Draft:
        """Choose candidates, best first, whose tokens add up to the target at most.

        :param target: What the sum may reach.
        :param most: Choose at most so many.
        """
        draft = _Draft(target)
        for position, item in enumerate(self._ranked):
            if len(draft.kept) == self._top_k:
                draft.dropped.append(_over_top_k(item, self._top_k))
                continue
            why = draft.full or self._add(draft, position, closed=len(draft.kept) == most)
            if why:
                draft.dropped.append(drop(item, Reason.OVER_BUDGET, why))
        self._join(draft)
        return draft

    def smallest(self) -> str:
        """Return the size of the smallest candidate (with ``"prefix"`` of the first) and the budget, for a warning."""
        first = self._policy == "prefix"
        lengths = [len(item.candidate.reading) for item in self._ranked[: 1 if first else None]]
        counts = [self._counts[sized] for sized in enumerate(lengths) if sized in self._counts]
        size = f"needs {min(counts)} tokens" if counts else f"has {min(lengths)} characters"
        which = f"the {'first' if first else 'smallest'} of {len(self._ranked)} candidates"
        return f"{which} {size}, the budget is {self._budget.max_tokens}"

    def _add(self, draft: _Draft, position: int, *, closed: bool) -> str:
        """Add a candidate as the policy says, or return the figures that say why it doesn't fit."""
        why = self._add_whole(draft, position, closed=closed)
        if why and self._policy == "truncate" and not closed and self._add_beginning(draft, position):
            draft.full = "the budget was full"
            return ""
        if why and self._policy == "prefix":
            draft.full = "after the first that didn't fit"
        return why

    def _add_whole(self, draft: _Draft, position: int, *, closed: bool) -> str:
        length = len(self._ranked[position].candidate.reading)
        if length > LONGEST_TOKEN * max(1, draft.left):
            return f"{length} characters, {draft.left} tokens left"
        cost = self._cost(draft, self._count(draft, position, length))
        if cost <= draft.left and not closed:
            self._keep(draft, position, length)
            return ""
        figures = f"{cost} tokens, {draft.left} left"
        if cost <= self._budget.max_tokens - draft.total:
            return f"{figures}: the joined text takes more tokens than its parts"
        return figures

    def _add_beginning(self, draft: _Draft, position: int) -> bool:
        """Add the longest beginning of a candidate that fits, if there is one, and return whether there is."""
        candidate = self._ranked[position].candidate
        text = candidate.reading
        allowed = draft.left - self._cost(draft, 0)
        if allowed <= 0:
            return False
        if position not in self._cutters:
            whole = self._count(draft, position, len(text))
            self._cutters[position] = Cutter(text, whole, allowed, candidate.header_length)
        end = self._cutters[position].longest(allowed, lambda end: self._count(draft, position, end))
        if end:
            self._keep(draft, position, end)
        return end > 0

    def _keep(self, draft: _Draft, position: int, end: int) -> None:
        item, tokens = self._ranked[position], self._count(draft, position, end)
        text = item.candidate.reading
        cut = self._count(draft, position, len(text)) - tokens
        draft.kept.append(_kept(item, text[:end], len(draft.kept) + 1, tokens, max(0, cut)))
        draft.total += self._cost(draft, tokens)

    def _cost(self, draft: _Draft, tokens: int) -> int:
        """Return what tokens counted alone add to the sum; the counter's overhead is in the first candidate's."""
        return tokens + (self._separator - self._overhead if draft.kept else 0)

    def _count(self, draft: _Draft, position: int, end: int) -> int:
        """Count the beginning of a candidate, written as the draft's next."""
        if (position, end) not in self._counts:
            candidate = self._ranked[position].candidate
            rendered = self._budget.render(len(draft.kept) + 1, candidate, candidate.reading[:end])
            self._counts[position, end] = self._budget.counting.count(rendered)
        return self._counts[position, end]

    def _join(self, draft: _Draft) -> None:
        key = tuple((item.rank_before, len(item.text)) for item in draft.kept)
        if key not in self._joined:
            read = in_reading_order(draft.kept, self._order)
            context = self._budget.join([(item.candidate, item.text) for item in read])
            self._joined[key] = context, self._budget.counting.count(context) if read else 0
        draft.context, draft.tokens = self._joined[key]
