"""Fitting candidates into a context budget, best first, and never a token more.

Every acceptance is decided on the joined text in reading order, since joined counts can exceed the sum of the
parts; a candidate that arithmetic shows to be far too long is refused without joining.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from secondpass.ranking import Dropped, Judged, Reason
from secondpass.selection.budget import ContextBudget
from secondpass.selection.order import Order, reading_order
from secondpass.selection.outcome import drop
from secondpass.text import sentence_ends

Policy = Literal["fill", "prefix", "truncate"]
POLICIES: tuple[Policy, ...] = ("fill", "prefix", "truncate")

JOIN_SLACK = 8  # tokens by which a joined count may fall below the sum of its parts, where pieces merge at the seams
LONGEST_TOKEN = 256  # characters; a text of more than this many for each token left is refused uncounted


class Fitted(NamedTuple):
    """A candidate that fits, the text that the reader will see of it, and its tokens with its template."""

    judged: Judged
    text: str
    tokens: int


class Fit:
    """The state of one fitting: what is in, and how many tokens the joined text takes."""

    def __init__(self, budget: ContextBudget, order: Order) -> None:
        self.budget = budget
        self.order = order
        self.fitted: list[Fitted] = []
        self.tokens = 0
        self._overhead = max(0, budget.counting.count(""))

    @property
    def left(self) -> int:
        """The tokens that are free."""
        return self.budget.max_tokens - self.tokens

    def in_reading_order(self) -> list[Fitted]:
        """Return what is in, as the reader will see it."""
        return [self.fitted[p] for p in reading_order([item.judged for item in self.fitted], self.order)]

    def context(self) -> str:
        """Return the joined text."""
        return self.budget.join([(item.judged.candidate, item.text) for item in self.in_reading_order()])

    def add(self, judged: Judged, text: str) -> str | None:
        """Take the text in if the joined text then fits; else leave all as it was and return the figures why not."""
        if len(text) > LONGEST_TOKEN * max(1, self.left):
            return f"{len(text)} characters, {self.left} tokens left"
        tokens = self.budget.counting.count(self.budget.render(len(self.fitted) + 1, judged.candidate, text))
        if tokens - self._overhead - JOIN_SLACK > self.left:
            return f"{tokens} tokens, {self.left} left"
        self.fitted.append(Fitted(judged, text, tokens))
        joined = self.budget.counting.count(self.context())
        if joined > self.budget.max_tokens:
            self.fitted.pop()
            return f"{joined} tokens joined, {self.budget.max_tokens} allowed"
        self.tokens = joined
        return None

    def add_cut(self, judged: Judged) -> bool:
        """Take in as many of the text's first sentences as fit; say whether any did."""
        text = judged.candidate.reading
        head = text[: LONGEST_TOKEN * max(1, self.left)]
        ends = [end for end in sentence_ends(head) if head[:end].strip()]
        if len(head) < len(text):
            ends = ends[:-1]  # the last one ends where the head was cut, which need not be a sentence end
        fitting = _longest(len(ends), lambda count: self._would_fit(judged, head[: ends[count - 1]].rstrip()))
        return fitting > 0 and self.add(judged, head[: ends[fitting - 1]].rstrip()) is None

    def _would_fit(self, judged: Judged, text: str) -> bool:
        before = self.tokens
        if self.add(judged, text) is not None:
            return False
        self.fitted.pop()
        self.tokens = before
        return True


def fit(judged: Sequence[Judged], budget: ContextBudget, policy: Policy, order: Order) -> tuple[Fit, list[Dropped]]:
    """Fit candidates, given best first, into the budget.

    ``"fill"`` skips what doesn't fit and goes on, ``"prefix"`` stops at the first that doesn't, ``"truncate"`` cuts
    the first that doesn't at a sentence end and stops there (where not even its first sentence fits, it is skipped).
    """
    state = Fit(budget, order)
    dropped: list[Dropped] = []
    full = ""
    for item in judged:
        why = full or state.add(item, item.candidate.reading)
        if not why:
            continue
        if not full and policy == "truncate" and state.add_cut(item):
            full = "the budget was full"
            continue
        dropped.append(drop(item, Reason.OVER_BUDGET, why))
        if policy == "prefix":
            full = full or "after the first that didn't fit"
    return state, dropped


def _longest(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest count up to ``limit`` that fits, 0 if none, asking for small counts first."""
    low, high = 0, 1
    while high <= limit and fits(high):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
