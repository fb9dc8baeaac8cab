"""The selection: its settings, and its steps in their order."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from secondpass.errors import ConfigurationError
from secondpass.ranking import Dropped, Kept, Ranked
from secondpass.selection.budget import ContextBudget
from secondpass.selection.drafts import Packed
from secondpass.selection.filters import (
    FilterResult,
    filter_duplicates,
    filter_surplus,
    filter_threshold,
    filter_unranked,
)
from secondpass.selection.order import ORDERS, Order
from secondpass.selection.packing import POLICIES, Policy, pack, pack_unlimited

_logger = logging.getLogger("secondpass")


@dataclass(frozen=True, slots=True)
class Selection:
    """How the kept are chosen. The steps run in this order: threshold, duplicates, budget and top-k, reading order.

    :param top_k: Keep at most so many of those that fit the budget, best first; None for no limit.
    :param min_probability: Drop candidates below this probability, which is the model's, not a fused value.
    :param min_keep: Keep the best so many even below the threshold. Top-k and the budget are stronger.
    :param max_unscored: Keep at most so many of the candidates that a deadline or a failure left without a score, to
        which no threshold applies; None for no limit.
    :param budget: The context budget; None for no limit.
    :param policy: What happens to a candidate that doesn't fit: ``"fill"`` skips it and goes on, ``"prefix"`` stops
        there, ``"truncate"`` cuts it at a sentence end (else a line end, else between words) and stops. ``"extract"``
        fills the budget with the best windows of all candidates instead, verbatim; the reranker then scores windows.
        Without a budget all policies keep candidates whole.
    :param duplicates: ``"exact"`` drops texts that equal a better one; ``"keep"`` doesn't compare them.
    :param order: The reading order: ``"relevance"``, ``"original"`` (the first stage's), or ``"ends"`` (the best at
        both ends).
    :raises ConfigurationError: If a setting is out of its range.
    """

    top_k: int | None = None
    min_probability: float | None = None
    min_keep: int = 0
    max_unscored: int | None = None
    budget: ContextBudget | None = None
    policy: Policy = "fill"
    duplicates: Literal["exact", "keep"] = "exact"
    order: Order = "relevance"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.top_k is not None and not (isinstance(self.top_k, int) and self.top_k >= 1):
            raise ConfigurationError(f"top_k must be a whole number from 1, or None for no limit, got {self.top_k!r}")
        if self.min_probability is not None and not 0 <= self.min_probability <= 1:
            raise ConfigurationError(f"min_probability must be within 0 and 1, got {self.min_probability!r}")
        if not (isinstance(self.min_keep, int) and self.min_keep >= 0):
            raise ConfigurationError(f"min_keep must be a whole number from 0, got {self.min_keep!r}")
        if self.budget is not None and not isinstance(self.budget, ContextBudget):
            raise ConfigurationError(f"budget must be a ContextBudget or None, got {self.budget!r:.80}")
        for name, value, allowed in (
            ("policy", self.policy, POLICIES),
            ("duplicates", self.duplicates, ("exact", "keep")),
            ("order", self.order, ORDERS),
        ):
            if value not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


@dataclass(frozen=True, slots=True)
class Selected:
    """The result of a selection.

    :param kept: The kept candidates, in reading order.
    :param dropped: The others, best first.
    :param context: The kept texts, joined.
    :param tokens: The tokens of ``context``; None without a budget.
    :param facts: What the report says of the selection: policy, budget, counter.
    """

    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    context: str
    tokens: int | None
    facts: Mapping[str, object] = field(default_factory=dict)


def select(ranked: Sequence[Ranked], selection: Selection) -> Selected:
    """Choose among candidates that are given best first; each comes back exactly once, kept or dropped.

    Where there are candidates and none fits the budget, a warning with the figures is logged.
    """
    selected = choose(ranked, selection)
    if "nothing_fits" in selected.facts:
        _logger.warning("no candidate fits the context budget: %s", selected.facts["nothing_fits"])
    return selected


def choose(ranked: Sequence[Ranked], selection: Selection) -> Selected:
    """Do what ``select`` does, and log nothing."""
    passed, dropped = _filter(ranked, selection)
    packed = _pack(passed, selection)
    best_first = {item.rank_before: position for position, item in enumerate(ranked)}
    everything = sorted([*dropped, *packed.dropped], key=lambda item: best_first[item.rank_before])
    return Selected(tuple(packed.kept), tuple(everything), packed.context, packed.tokens, _facts(packed, selection))


def _filter(ranked: Sequence[Ranked], selection: Selection) -> FilterResult:
    passed, unranked = filter_unranked(ranked)
    passed, unlikely = filter_threshold(passed, selection.min_probability, selection.min_keep)
    passed, surplus = filter_surplus(passed, selection.max_unscored)
    copies: list[Dropped] = []
    if selection.duplicates == "exact":
        passed, copies = filter_duplicates(passed)
    return FilterResult(passed, [*unranked, *unlikely, *surplus, *copies])


def _pack(passed: Sequence[Ranked], selection: Selection) -> Packed:
    if selection.budget is None:
        return pack_unlimited(passed, selection.order, selection.top_k)
    threshold = selection.min_probability
    return pack(passed, selection.budget, selection.policy, selection.order, selection.top_k, threshold)


def _facts(packed: Packed, selection: Selection) -> dict[str, object]:
    budget = selection.budget
    if budget is None:
        return {}
    facts: dict[str, object] = {
        "policy": selection.policy,
        "tokens": packed.tokens,
        "max_tokens": budget.max_tokens,
        "counter": budget.counting.name,
        "exact": budget.counting.exact,
    }
    reported = {"budget": budget.origin, "nothing_fits": packed.nothing_fits}
    return facts | {name: fact for name, fact in reported.items() if fact}
