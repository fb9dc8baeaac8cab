"""Packing candidates into a context budget, best first: the joined text never takes more tokens than the budget.

Each candidate is counted once by itself, and drafts are chosen by the sum of these counts. The best candidate that fits
is always kept: no bundle of weaker ones replaces it, since the score says which candidate is likely to hold the answer,
and not that two halves of an answer add up.
"""

from bisect import bisect
from collections.abc import Sequence
from typing import Literal, get_args

from secondpass.ranking import Dropped, Ranked, Reason
from secondpass.selection.budget import ContextBudget
from secondpass.selection.cutting import Cutter
from secondpass.selection.drafts import LONGEST_TOKEN, Draft, Packed, best_draft, keep, over_top_k
from secondpass.selection.extraction import extract
from secondpass.selection.filters import drop
from secondpass.selection.order import Order, in_reading_order
from secondpass.selection.sequence import PackingSequence

Policy = Literal["fill", "prefix", "truncate", "extract"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


def pack(
    ranked: Sequence[Ranked],
    budget: ContextBudget,
    policy: Policy = "fill",
    order: Order = "relevance",
    top_k: int | None = None,
    min_probability: float | None = None,
    sequence: PackingSequence | None = None,
) -> Packed:
    """Pack candidates, given best first, into the budget, until ``top_k`` are kept or there are no more.

    ``"fill"`` skips a candidate that doesn't fit and goes on, ``"prefix"`` stops at the first that doesn't fit,
    ``"truncate"`` cuts the first that doesn't fit and stops there; where no beginning of it fits, it is skipped.
    ``"extract"`` takes windows of candidates; where not even one fits, it does what ``"truncate"`` does.

    :param min_probability: With ``"extract"``, windows below it are left out.
    :param sequence: In which candidates are packed; None packs by relevance.
    """
    if policy == "extract":
        extracted = extract(ranked, budget, order, top_k, min_probability, sequence)
        if extracted.kept:
            return extracted
        policy = "truncate"
    packer = _Packer(ranked, budget, policy, order, top_k, sequence or PackingSequence(ranked))
    best = best_draft(packer.draft, budget.max_tokens)
    if best is None or not best.kept:
        best = packer.draft(budget.max_tokens, most=1)  # the best that fits alone: its joined text is already counted
    nothing_fits = packer.smallest() if ranked and not best.kept else ""
    return Packed(in_reading_order(best.kept, order), packer.reasons(best), best.context, best.tokens, nothing_fits)


def pack_unlimited(ranked: Sequence[Ranked], order: Order, top_k: int | None, sequence: PackingSequence) -> Packed:
    """Keep ``top_k`` candidates, given best first, whole and uncounted."""
    draft = Draft(0)
    for position, duplicate in sequence.steps(draft.chosen):
        item = ranked[position]
        if duplicate or len(draft.kept) == top_k:
            draft.dropped.append(duplicate or over_top_k(item, top_k))
        else:
            draft.add(position, keep(item, item.candidate.reading, len(draft.kept) + 1, None), 0)
    draft.sort()
    kept = in_reading_order(draft.kept, order)
    dropped = sequence.displaced(draft.dropped, draft.chosen, lambda item: item.reason is Reason.OVER_TOP_K)
    return Packed(kept, dropped, "\n\n".join(item.text for item in kept), None)


class _Packer:
    """Drafts choices of candidates, and counts each candidate and each joined text only once."""

    def __init__(
        self,
        ranked: Sequence[Ranked],
        budget: ContextBudget,
        policy: Policy,
        order: Order,
        top_k: int | None,
        sequence: PackingSequence,
    ) -> None:
        self._ranked = ranked
        self._budget = budget
        self._policy = policy
        self._order = order
        self._top_k = top_k
        self._sequence = sequence
        self._overhead = max(0, budget.counting.count(""))  # what the counter adds to any text
        self._separator = max(0, budget.counting.count(budget.separator) - self._overhead)
        self._counts: dict[tuple[int, int], int] = {}
        self._cutters: dict[int, Cutter] = {}
        self._joined: dict[tuple[tuple[int, int], ...], tuple[str, int]] = {}

    def draft(self, target: int, most: int | None = None) -> Draft:
        """Choose candidates, best first, whose tokens add up to the target at most.

        :param target: What the sum may reach.
        :param most: Choose at most so many.
        """
        draft = Draft(target)
        for position, duplicate in self._sequence.steps(draft.chosen):
            refused = duplicate or self._try(draft, position, closed=len(draft.kept) == most)
            if refused:
                draft.dropped.append(refused)
        draft.sort()
        self._join(draft)
        return draft

    def reasons(self, draft: Draft) -> list[Dropped]:
        """Return the dropped of a draft, best first, with its reason where similar candidates displaced one."""
        return self._sequence.displaced(draft.dropped, draft.chosen, lambda item: self._would_fit(draft, item))

    def _would_fit(self, draft: Draft, item: Dropped) -> bool:
        """Return whether a candidate would fit in the place of the less relevant ones."""
        position = self._sequence.position(item)
        tokens = self._counts.get((position, len(item.candidate.reading)))
        later = sum(draft.costs[bisect(draft.chosen, position) :])
        return item.reason is Reason.OVER_TOP_K or (
            tokens is not None and self._cost(draft, tokens) <= draft.left + later
        )

    def _try(self, draft: Draft, position: int, *, closed: bool) -> Dropped | None:
        """Add a candidate, or return the record that says why it isn't kept."""
        item = self._ranked[position]
        if len(draft.kept) == self._top_k:
            return over_top_k(item, self._top_k)
        why = draft.full or self._add(draft, position, closed=closed)
        return drop(item, Reason.OVER_BUDGET, why) if why else None

    def smallest(self) -> str:
        """Return the size of the smallest candidate (with ``"prefix"`` of the first) and the budget, for a warning."""
        first = self._policy == "prefix"
        lengths = [len(item.candidate.reading) for item in self._ranked[: 1 if first else None]]
        counts = [self._counts[sized] for sized in enumerate(lengths) if sized in self._counts]
        size = f"needs {min(counts)} tokens" if counts else f"has {min(lengths)} characters"
        which = f"the {'first' if first else 'smallest'} of {len(self._ranked)} candidates"
        return f"{which} {size}, the budget is {self._budget.max_tokens}"

    def _add(self, draft: Draft, position: int, *, closed: bool) -> str:
        """Add a candidate as the policy says, or return the figures that say why it doesn't fit."""
        why = self._add_whole(draft, position, closed=closed)
        if why and self._policy == "truncate" and not closed and self._add_beginning(draft, position):
            draft.full = "the budget was full"
            return ""
        if why and self._policy == "prefix":
            draft.full = "after the first that didn't fit"
        return why

    def _add_whole(self, draft: Draft, position: int, *, closed: bool) -> str:
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

    def _add_beginning(self, draft: Draft, position: int) -> bool:
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

    def _keep(self, draft: Draft, position: int, end: int) -> None:
        item, tokens = self._ranked[position], self._count(draft, position, end)
        text = item.candidate.reading
        cut = self._count(draft, position, len(text)) - tokens
        kept = keep(item, text[:end], len(draft.kept) + 1, tokens, max(0, cut))
        draft.add(position, kept, self._cost(draft, tokens))

    def _cost(self, draft: Draft, tokens: int) -> int:
        """Return what tokens counted alone add to the sum; the counter's overhead is in the first candidate's."""
        return tokens + (self._separator - self._overhead if draft.kept else 0)

    def _count(self, draft: Draft, position: int, end: int) -> int:
        """Count the beginning of a candidate, written as the draft's next."""
        if (position, end) not in self._counts:
            candidate = self._ranked[position].candidate
            rendered = self._budget.render(len(draft.kept) + 1, candidate, candidate.reading[:end])
            self._counts[position, end] = self._budget.counting.count(rendered)
        return self._counts[position, end]

    def _join(self, draft: Draft) -> None:
        key = tuple((item.rank_before, len(item.text)) for item in draft.kept)
        if key not in self._joined:
            read = in_reading_order(draft.kept, self._order)
            context = self._budget.join([(item.candidate, item.text) for item in read])
            self._joined[key] = context, self._budget.counting.count(context) if read else 0
        draft.context, draft.tokens = self._joined[key]
