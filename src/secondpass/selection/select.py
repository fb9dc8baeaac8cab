"""The selection: its settings, and its steps in their order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal, get_args

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError
from secondpass.logs import REPEATED_WARNINGS, logger
from secondpass.ranking import Dropped, Kept, Ranked, nothing_relevant
from secondpass.scores import Note
from secondpass.selection.adaptive import Adaptive
from secondpass.selection.budget import ContextBudget
from secondpass.selection.drafts import Packed
from secondpass.selection.filters import (
    FilterResult,
    filter_adaptive,
    filter_duplicates,
    filter_excluded,
    filter_surplus,
    filter_threshold,
    filter_unranked,
)
from secondpass.selection.order import ORDERS, Order
from secondpass.selection.packing import POLICIES, Policy, pack, pack_unlimited
from secondpass.selection.sequence import PackingSequence

Duplicates = Literal["exact", "near", "keep"]
DUPLICATES: tuple[Duplicates, ...] = get_args(Duplicates)
_NEAR = 0.7


@dataclass(frozen=True, slots=True)
class Selection:
    """How the kept are chosen.

    The steps run in this order: exclusion, threshold, exact duplicates, adaptive k, budget and top-k with
    near-duplicates and diversity, reading order.

    :param top_k: Keep at most so many of those that fit the budget, best first; None for no limit.
    :param min_probability: Drop candidates below this probability, which is the model's, not a fused value.
    :param min_keep: Keep the best so many even below the threshold. Top-k and the budget are stronger.
    :param max_unscored: Keep at most so many of the candidates that a deadline or a failure left without a score, to
        which no threshold applies; None for no limit.
    :param budget: The context budget; None for no limit.
    :param policy: What happens to a candidate that doesn't fit: ``"fill"`` skips it and goes on, ``"prefix"`` stops
        there, ``"truncate"`` cuts it at a sentence end (else a line end, else between words) and stops. ``"extract"``
        fills the budget with the best windows of all candidates instead, verbatim; the reranker then scores windows,
        and what they repeat counts against them. Without a budget all are kept whole. It goes with no ``diversity``.
    :param duplicates: ``"exact"`` drops texts that equal a better one; ``"near"`` also those that are similar to a kept
        one and have no number that it lacks; ``"keep"`` doesn't compare them.
    :param near: The similarity from which a text is a near-duplicate: the part of their sequences of three words that
        two texts share, from 0 to 1. A text of 100 words with 5 of them changed has 0.74.
    :param diversity: How much similarity to what is kept counts against relevance, from 0 to 1 (maximal marginal
        relevance); 0 packs by relevance alone.
    :param adaptive: How many are relevant by their own scores: ``LargestGap()``, ``CoveredMass(0.9)``, or None.
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
    duplicates: Duplicates = "exact"
    near: float = _NEAR
    diversity: float = 0.0
    adaptive: Adaptive | None = None
    order: Order = "relevance"

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, least in (("top_k", 1), ("max_unscored", 0)):
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if value is not None and not (whole and int(value) >= least):
                raise ConfigurationError(
                    f"{name} must be a whole number from {least}, or None for no limit, got {value!r}"
                )
        for name in ("min_probability", "near", "diversity"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and 0 <= float(value) <= 1):
                raise ConfigurationError(f"{name} must be within 0 and 1, got {value!r}")
        if self.adaptive is not None and not isinstance(self.adaptive, Adaptive):
            raise ConfigurationError(f"adaptive must be LargestGap(...) or CoveredMass(...), got {self.adaptive!r:.80}")
        self._check_rules()

    def _check_rules(self) -> None:
        """Check the settings that aren't numbers, and ``min_keep``."""
        if not (isinstance(self.min_keep, int) and self.min_keep >= 0):
            raise ConfigurationError(f"min_keep must be a whole number from 0, got {self.min_keep!r}")
        if self.budget is not None and not isinstance(self.budget, ContextBudget):
            raise ConfigurationError(f"budget must be a ContextBudget or None, got {self.budget!r:.80}")
        for name, given, allowed in (
            ("policy", self.policy, POLICIES),
            ("duplicates", self.duplicates, DUPLICATES),
            ("order", self.order, ORDERS),
        ):
            if given not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}; got {given!r}")
        if self.near != _NEAR and self.duplicates != "near":
            raise ConfigurationError(
                f"near={self.near!r} has no effect with duplicates={self.duplicates!r}: it is for duplicates='near'"
            )
        if self.policy == "extract" and self.diversity:
            raise ConfigurationError(
                "policy='extract' has its own rule, in which diversity has no part: leave that out, or take "
                "another policy"
            )


@dataclass(frozen=True, slots=True)
class Selected:
    """The result of a selection.

    :param kept: The kept candidates, in reading order.
    :param dropped: The others, best first.
    :param context: The kept texts, joined.
    :param tokens: The tokens of ``context``; None without a budget.
    :param facts: What the report says of the selection: policy, budget, counter.
    :param notes: Why the context may be wrong.
    """

    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    context: str
    tokens: int | None
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def select(ranked: Sequence[Ranked], selection: Selection, exclude: Sequence[Candidate | str] = ()) -> Selected:
    """Choose among candidates that are given best first; each comes back exactly once, kept or dropped.

    A warning is logged where there are candidates and none fits the budget, and where the template names a field that
    none of them has; that none is relevant is logged as information.

    :param ranked: The candidates, best first.
    :param selection: The settings.
    :param exclude: Candidates, or their ids, that aren't to be kept.
    """
    selected = choose(ranked, selection, exclude)
    if "nothing_fits" in selected.facts:
        REPEATED_WARNINGS.warn(
            "nothing fits",
            "no candidate fits the context budget: %s%s",
            selected.facts["nothing_fits"],
            f" ({selected.facts['budget']})" if "budget" in selected.facts else "",
        )
    if "blank_fields" in selected.facts:
        message = "no candidate has the template's fields %s"
        REPEATED_WARNINGS.warn(("blank", selected.facts["blank_fields"]), message, selected.facts["blank_fields"])
    if "nothing_relevant" in selected.facts:
        logger.info("no candidate is relevant: %s", selected.facts["nothing_relevant"])
    return selected


def choose(ranked: Sequence[Ranked], selection: Selection, exclude: Sequence[Candidate | str] = ()) -> Selected:
    """Do what ``select`` does, and log nothing."""
    passed, dropped = _filter(ranked, selection, exclude)
    packed = _pack(passed, selection)
    best_first = {item.rank_before: position for position, item in enumerate(ranked)}
    everything = sorted([*dropped, *packed.dropped], key=lambda item: best_first[item.rank_before])
    facts = _facts(packed, selection)
    blank_fields = (
        selection.budget.blank_fields(item.candidate for item in ranked) if selection.budget and ranked else ()
    )
    if blank_fields:
        facts["blank_fields"] = ", ".join(blank_fields)
    if everything and nothing_relevant(packed.kept, everything):
        facts["nothing_relevant"] = f"{everything[0].reason}, {everything[0].detail}"
    return Selected(tuple(packed.kept), tuple(everything), packed.context, packed.tokens, facts)


def _filter(ranked: Sequence[Ranked], selection: Selection, exclude: Sequence[Candidate | str]) -> FilterResult:
    near = selection.near if selection.duplicates == "near" else None
    passed, unranked = filter_unranked(ranked)
    passed, excluded = filter_excluded(passed, exclude, near)
    passed, unlikely = filter_threshold(passed, selection.min_probability, selection.min_keep)
    passed, surplus = filter_surplus(passed, selection.max_unscored)
    copies: list[Dropped] = []
    if selection.duplicates == "exact":
        passed, copies = filter_duplicates(passed)
    passed, below = filter_adaptive(passed, selection.adaptive, selection.min_keep)
    return FilterResult(passed, [*unranked, *unlikely, *excluded, *surplus, *copies, *below])


def _pack(passed: Sequence[Ranked], selection: Selection) -> Packed:
    budget = selection.budget
    sequence = PackingSequence(
        passed,
        near=selection.near if selection.duplicates == "near" else None,
        diversity=selection.diversity,
    )
    if budget is None:
        return pack_unlimited(passed, selection.order, selection.top_k, sequence)
    threshold = selection.min_probability
    return pack(passed, budget, selection.policy, selection.order, selection.top_k, threshold, sequence)


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
