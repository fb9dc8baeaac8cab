"""The selection: its settings, and its steps in the road's order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from secondpass.errors import ConfigurationError
from secondpass.ranking import Dropped, Judged, Kept, Reason
from secondpass.selection.budget import ContextBudget
from secondpass.selection.duplicates import split_duplicates
from secondpass.selection.order import ORDERS, Order, reading_order
from secondpass.selection.outcome import Split, drop, keep
from secondpass.selection.packing import POLICIES, Policy, pack
from secondpass.selection.threshold import split_threshold, split_unranked

DEFAULT_SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class Selection:
    """How the kept are chosen. The steps run in this order: threshold, duplicates, top-k, budget, reading order.

    :param top_k: Keep at most so many; None keeps all that the other steps leave.
    :param min_probability: Drop candidates below this probability; the fused value is never asked.
    :param min_keep: Keep the best so many even below the threshold. Top-k and the budget are stronger.
    :param budget: The context budget; None for no limit.
    :param policy: What happens to a candidate that doesn't fit: ``"fill"`` skips it and goes on, ``"prefix"`` stops
        there, ``"truncate"`` cuts it at a sentence end and stops.
    :param duplicates: ``"exact"`` drops texts that were kept already; ``"keep"`` doesn't look.
    :param order: The reading order: ``"relevance"``, ``"original"`` (the first stage's), or ``"ends"`` (the best at
        both ends).
    :raises ConfigurationError: If a setting is out of its range.
    """

    top_k: int | None = None
    min_probability: float | None = None
    min_keep: int = 0
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
    """What a selection leaves: the kept in reading order, the dropped, the joined text, and the facts to report."""

    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    context: str
    tokens: int | None
    facts: Mapping[str, object] = field(default_factory=dict)


def select(judged: Sequence[Judged], selection: Selection) -> Selected:
    """Choose among candidates that are given best first; each comes back exactly once, kept or dropped."""
    dropped: list[Dropped] = []
    stay = list(judged)
    for split in _steps(selection):
        stay, gone = split(stay)
        dropped += gone
    selected = _unlimited(stay, selection) if selection.budget is None else _budgeted(stay, selection, selection.budget)
    best_first = {item.rank_before: position for position, item in enumerate(judged)}
    everything = sorted([*dropped, *selected.dropped], key=lambda item: best_first[item.rank_before])
    return Selected(selected.kept, tuple(everything), selected.context, selected.tokens, selected.facts)


def _steps(selection: Selection) -> Iterator[Callable[[Sequence[Judged]], Split]]:
    yield split_unranked
    yield lambda judged: split_threshold(judged, selection.min_probability, selection.min_keep)
    if selection.duplicates == "exact":
        yield split_duplicates
    yield lambda judged: _split_top_k(judged, selection.top_k)


def _split_top_k(judged: Sequence[Judged], top_k: int | None) -> Split:
    limit = len(judged) if top_k is None else top_k
    return Split(list(judged[:limit]), [drop(item, Reason.OVER_TOP_K, f"top-k is {top_k}") for item in judged[limit:]])


def _unlimited(stay: Sequence[Judged], selection: Selection) -> Selected:
    kept = [keep(item, item.candidate.reading, rank, None) for rank, item in enumerate(stay, start=1)]
    kept = [kept[position] for position in reading_order(kept, selection.order)]
    return Selected(tuple(kept), (), DEFAULT_SEPARATOR.join(item.text for item in kept), None)


def _budgeted(stay: Sequence[Judged], selection: Selection, budget: ContextBudget) -> Selected:
    packed = pack(stay, budget, selection.policy, selection.order)
    facts: dict[str, object] = {
        "policy": selection.policy,
        "tokens": packed.tokens,
        "max_tokens": budget.max_tokens,
        "counter": budget.counting.name,
        "exact": budget.counting.exact,
    }
    if budget.origin:
        facts["budget"] = budget.origin
    return Selected(tuple(packed.kept), tuple(packed.dropped), packed.context, packed.tokens, facts)
