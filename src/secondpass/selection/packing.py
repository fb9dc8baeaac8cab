"""Packing candidates into a context budget, best first: the joined text never takes more tokens than the budget.

Each candidate is counted once by itself, and attempts are chosen by the sum of these counts. The best candidate that
fits is always kept: no bundle of weaker ones replaces it, since the score says which candidate is likely to hold the
answer, and not that two halves of an answer add up. For the same reason the best of all is cut around its best window,
where that is known and what fits as a whole is far less relevant.
"""

from bisect import bisect
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

from secondpass.ranking import Dropped, Kept, Ranked, Reason
from secondpass.selection.attempts import LONGEST_TOKEN, Packed, PackingAttempt, best_attempt, keep, over_top_n
from secondpass.selection.budget import ContextBudget
from secondpass.selection.cutting import Cutter, longest_around
from secondpass.selection.extraction import Span, excerpt, extract, placed_windows, whole
from secondpass.selection.filters import drop
from secondpass.selection.order import Order, in_reading_order, relevances
from secondpass.selection.sequence import PackingSequence

Policy = Literal["fill", "prefix", "truncate", "extract"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
_RIVAL = 0.5  # of the best candidate's relevance


def pack(
    ranked: Sequence[Ranked],
    budget: ContextBudget,
    policy: Policy = "fill",
    order: Order = "relevance",
    top_n: int | None = None,
    min_probability: float | None = None,
    sequence: PackingSequence | None = None,
) -> Packed:
    """Pack candidates, given best first, into the budget, until ``top_n`` are kept or there are no more.

    ``"fill"`` skips a candidate that doesn't fit and goes on; the best of all it cuts around its best window, where
    that is known and nothing that fits as a whole is nearly as relevant. ``"prefix"`` stops at the first that doesn't
    fit. ``"truncate"`` cuts the first that doesn't fit, around its best window or else at its end, and stops there;
    where no part of it fits, it is skipped. ``"extract"`` takes windows of candidates; where not even one fits, it does
    what ``"truncate"`` does.

    :param min_probability: With ``"extract"``, windows below it are left out.
    :param sequence: In which candidates are packed; None packs by relevance.
    """
    if policy == "extract":
        extracted = extract(ranked, budget, order, top_n, min_probability, sequence)
        if extracted.kept:
            return extracted
        policy = "truncate"
    packer = _Packer(ranked, budget, policy, order, top_n, sequence or PackingSequence(ranked))
    best = packer.search()
    if policy == "fill" and best_is_missing(ranked, best.kept) and placed_windows(ranked[0]):
        packer.cuts_best = True
        cut = packer.search()
        best = cut if 0 in cut.chosen else best
    nothing_fits = packer.smallest() if ranked and not best.kept else ""
    return Packed(in_reading_order(best.kept, order), packer.reasons(best), best.context, best.tokens, nothing_fits)


def pack_unlimited(ranked: Sequence[Ranked], order: Order, top_n: int | None, sequence: PackingSequence) -> Packed:
    """Keep ``top_n`` candidates, given best first, whole and uncounted."""
    attempt = PackingAttempt(0)
    for position, duplicate in sequence.steps(attempt.chosen):
        item = ranked[position]
        if duplicate or len(attempt.kept) == top_n:
            attempt.dropped.append(duplicate or over_top_n(item, top_n))
        else:
            attempt.add(position, keep(item, item.candidate.reading, len(attempt.kept) + 1, None), 0)
    attempt.sort()
    kept = in_reading_order(attempt.kept, order)
    dropped = sequence.displaced(attempt.dropped, attempt.chosen, lambda item: item.reason is Reason.OVER_TOP_N)
    return Packed(kept, dropped, "\n\n".join(item.text for item in kept), None)


def best_is_missing(ranked: Sequence[Ranked], kept: Sequence[Kept]) -> bool:
    """Return whether the best candidate isn't kept, and what is kept is far less relevant.

    :param ranked: The candidates, best first.
    :param kept: The kept of them.
    """
    if not ranked or ranked[0].score is None:
        return False
    by_rank = dict(zip((item.rank_before for item in ranked), relevances(ranked), strict=True))
    return max((by_rank[item.rank_before] for item in kept), default=-1.0) < _RIVAL * by_rank[ranked[0].rank_before]


def wants_windows(ranked: Sequence[Ranked], kept: Sequence[Kept], policy: Policy) -> bool:
    """Return whether small windows of the best candidate would put more of what is relevant into the context.

    It doesn't fit as a whole, its best window isn't known or doesn't fit, and the policy cuts it, or would.

    :param ranked: The candidates, best first.
    :param kept: The kept of them.
    :param policy: The policy.
    """
    if not ranked or ranked[0].score is None or policy == "prefix":
        return False
    best = ranked[0].candidate
    if not any(best.reading_spans([(0, len(best.text))])):
        return False
    passages = [span for _, span in placed_windows(ranked[0])[:1]]
    for item in kept:
        if item.rank_before == ranked[0].rank_before:
            held = [a for a, b in passages for start, end in item.spans if start <= a and b <= end]
            return item.text != best.reading and not held
    return best_is_missing(ranked, kept)


class _Packer:
    """Makes choices of candidates, and counts each candidate and each joined text only once."""

    def __init__(
        self,
        ranked: Sequence[Ranked],
        budget: ContextBudget,
        policy: Policy,
        order: Order,
        top_n: int | None,
        sequence: PackingSequence,
    ) -> None:
        self._ranked = ranked
        self._budget = budget
        self._policy = policy
        self._order = order
        self._top_n = top_n
        self._sequence = sequence
        self.cuts_best = False
        self._overhead = max(0, budget.counting.count(""))  # what the counter adds to any text
        self._separator = max(0, budget.counting.count(budget.separator) - self._overhead)
        self._counts: dict[tuple[int, Span], int] = {}
        self._cutters: dict[int, Cutter] = {}
        self._joined: dict[tuple[tuple[int, Sequence[Span]], ...], tuple[str, int]] = {}

    def search(self) -> PackingAttempt:
        """Return the fullest attempt that fits; if none keeps anything, the best candidate that fits alone."""
        best = best_attempt(self.attempt, self._budget.max_tokens)
        return best if best and best.kept else self.attempt(self._budget.max_tokens, most=1)  # is already counted

    def attempt(self, target: int, most: int | None = None) -> PackingAttempt:
        """Choose candidates, best first, whose tokens add up to the target at most.

        :param target: What the sum may reach.
        :param most: The maximum number of candidates chosen.
        """
        attempt = PackingAttempt(target)
        for position, duplicate in self._sequence.steps(attempt.chosen):
            refused = duplicate or self._try(attempt, position, closed=len(attempt.kept) == most)
            if refused:
                attempt.dropped.append(refused)
        attempt.sort()
        self._join(attempt)
        return attempt

    def reasons(self, attempt: PackingAttempt) -> list[Dropped]:
        """Return the dropped of an attempt, best first, with its reason where similar candidates displaced one."""
        return self._sequence.displaced(attempt.dropped, attempt.chosen, lambda item: self._would_fit(attempt, item))

    def _would_fit(self, attempt: PackingAttempt, item: Dropped) -> bool:
        """Return whether a candidate would fit in the place of the less relevant ones."""
        position = self._sequence.position(item)
        tokens = self._counts.get((position, whole(item)))
        later = sum(attempt.costs[bisect(attempt.chosen, position) :])
        return item.reason is Reason.OVER_TOP_N or (
            tokens is not None and self._cost(attempt, tokens) <= attempt.left + later
        )

    def _try(self, attempt: PackingAttempt, position: int, *, closed: bool) -> Dropped | None:
        """Add a candidate, or return the record that says why it isn't kept."""
        item = self._ranked[position]
        if len(attempt.kept) == self._top_n:
            return over_top_n(item, self._top_n)
        why = attempt.full or self._add(attempt, position, closed=closed)
        return drop(item, Reason.OVER_BUDGET, why) if why else None

    def smallest(self) -> str:
        """Return the size of the smallest candidate (with ``"prefix"`` of the first) and the budget, for a warning."""
        first = self._policy == "prefix"
        texts = [whole(item) for item in self._ranked[: 1 if first else None]]
        counts = [self._counts[sized] for sized in enumerate(texts) if sized in self._counts]
        size = f"needs {min(counts)} tokens" if counts else f"has {min(end for _, end in texts)} characters"
        which = f"the {'first' if first else 'smallest'} of {len(self._ranked)} candidates"
        return f"{which} {size}, the budget is {self._budget.max_tokens}"

    def _add(self, attempt: PackingAttempt, position: int, *, closed: bool) -> str:
        """Add a candidate as the policy says, or return the figures that say why it doesn't fit."""
        why = self._add_whole(attempt, position, closed=closed)
        cuts = self._policy == "truncate" or (self.cuts_best and position == 0)
        if why and cuts and not closed and self._add_part(attempt, position):
            attempt.full = "the budget was full" if self._policy == "truncate" else ""
            return ""
        if why and self._policy == "prefix":
            attempt.full = "after the first that didn't fit"
        return why

    def _add_whole(self, attempt: PackingAttempt, position: int, *, closed: bool) -> str:
        span = whole(self._ranked[position])
        if span[1] > LONGEST_TOKEN * max(1, attempt.left):
            return f"{span[1]} characters, {attempt.left} tokens left"
        cost = self._cost(attempt, self._count(attempt, position, span))
        if cost <= attempt.left and not closed:
            self._keep(attempt, position, span)
            return ""
        figures = f"{cost} tokens, {attempt.left} left"
        if cost <= self._budget.max_tokens - attempt.total:
            return f"{figures}: the joined text takes more tokens than its parts"
        return figures

    def _add_part(self, attempt: PackingAttempt, position: int) -> bool:
        """Add the longest part of a candidate that fits, if there is one, and return whether there is."""
        allowed = attempt.left - self._cost(attempt, 0)
        start, end = self._part(attempt, position, allowed) if allowed > 0 else (0, 0)
        if end > start:
            self._keep(attempt, position, (start, end))
        return end > start

    def _part(self, attempt: PackingAttempt, position: int, allowed: int) -> Span:
        """Return the longest part around the best window, else the longest beginning of it; empty if none fits."""
        item = self._ranked[position]
        first, last = whole(item)
        count, tokens = partial(self._count, attempt, position), self._count(attempt, position, (first, last))
        windows = placed_windows(item)
        reading = item.candidate.reading
        if windows:
            _, passage = windows[0]
            around = longest_around(reading, passage, first, (tokens, allowed), count)
            if any(around) or self._policy == "fill":
                return around
            first = passage[0]
        if position not in self._cutters:
            self._cutters[position] = Cutter(reading[first:], tokens, allowed)
        length = self._cutters[position].longest(allowed, lambda length: count((first, first + length)))
        return first, first + length

    def _keep(self, attempt: PackingAttempt, position: int, span: Span) -> None:
        item, tokens = self._ranked[position], self._count(attempt, position, span)
        text, spans = excerpt(item, [span])
        cut = self._count(attempt, position, whole(item)) - tokens
        kept = keep(item, text, len(attempt.kept) + 1, tokens, max(0, cut), spans)
        attempt.add(position, kept, self._cost(attempt, tokens))

    def _cost(self, attempt: PackingAttempt, tokens: int) -> int:
        """Return what tokens counted alone add to the sum; the counter's overhead is in the first candidate's."""
        return tokens + (self._separator - self._overhead if attempt.kept else 0)

    def _count(self, attempt: PackingAttempt, position: int, span: Span) -> int:
        """Count a part of a candidate, written as the attempt's next."""
        if (position, span) not in self._counts:
            item = self._ranked[position]
            rendered = self._budget.render(len(attempt.kept) + 1, item.candidate, excerpt(item, [span])[0])
            self._counts[position, span] = self._budget.counting.count(rendered)
        return self._counts[position, span]

    def _join(self, attempt: PackingAttempt) -> None:
        key = tuple((item.rank_before, item.spans) for item in attempt.kept)
        if key not in self._joined:
            read = in_reading_order(attempt.kept, self._order)
            context = self._budget.join([(item.candidate, item.text) for item in read])
            self._joined[key] = context, self._budget.counting.count(context) if read else 0
        attempt.context, attempt.tokens = self._joined[key]
