"""The selection: its settings, and its steps in their order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from secondpass.errors import ConfigurationError, checked
from secondpass.logs import REPEATED_WARNINGS, logger
from secondpass.ranking import Dropped, Kept, Ranked, Reason, nothing_relevant
from secondpass.records import Candidate, Note, NoteKind
from secondpass.selection.adaptive import Adaptive, CoveredMass
from secondpass.selection.attempts import Packed
from secondpass.selection.budget import ContextBudget, as_budget
from secondpass.selection.filters import (
    FilterResult,
    filter_adaptive,
    filter_excluded,
    filter_threshold,
    filter_unranked,
)
from secondpass.selection.order import Order, deciding
from secondpass.selection.packing import Policy, pack, pack_unlimited, wants_windows
from secondpass.selection.sequence import PackingSequence, Rules

Duplicates = Literal["exact", "near", "keep"]
DUPLICATES: tuple[Duplicates, ...] = get_args(Duplicates)
_NEAR = 0.7


@checked
@dataclass(frozen=True, slots=True)
class Selection:
    """How the kept are chosen.

    The steps run in this order: exclusion, threshold, adaptive k, budget and top-k with duplicates, diversity and the
    limits on candidates of one source and without a score, reading order.

    :param top_n: The maximum number of candidates kept, of those that fit the budget; None for no limit.
    :param min_probability: Drop candidates below this probability, which is the model's, not a fused value.
    :param max_per_source: The maximum number of candidates kept of one ``Candidate.source``; None for no limit. Those
        without a source aren't limited.
    :param min_keep: The number of best candidates kept even below the threshold, copies and candidates over the limit
        of their source not counted. ``top_n`` and the budget are stronger.
    :param max_unscored: The maximum number of candidates kept without a score, to which no threshold applies; None for
        no limit.
    :param budget: The context budget: tokens, or a ``ContextBudget``; None for no limit.
    :param policy: What happens to a candidate that doesn't fit: ``"fill"`` skips it and goes on, ``"prefix"`` stops
        there, ``"truncate"`` cuts it around its best window, else at a sentence end (else a line end, else between
        words), and stops. ``"extract"`` fills the budget with the best windows of all candidates instead, verbatim; the
        reranker then scores windows, and what they repeat counts against them. Without a budget all are kept whole.
        With all but ``"prefix"``, a reranker scores the sentences of a best candidate that doesn't fit; ``"fill"`` cuts
        it around the best of them where nothing else that fits is half as relevant.
    :param duplicates: ``"exact"`` drops copies of a kept one: what the LLM reads, template included, and what the
        scorer reads are the same. ``"near"`` also drops similar texts, with the same template fields and metadata, that
        have no name, number, unit or identifier that the kept one lacks; ``"keep"`` doesn't compare them.
    :param near: The similarity from which a text is a near-duplicate: the part of their sequences of three words that
        two texts share, from 0 to 1. A text of 100 words with 5 of them changed has 0.74.
    :param diversity: How much similarity to what is kept counts against relevance, from 0 to 1 (maximal marginal
        relevance); 0 packs by relevance alone. With ``policy="extract"``, how much repetition counts at least.
    :param adaptive: How many are relevant by their own scores: ``LargestGap()``, ``CoveredMass(0.9)``, or None.
    :param order: The reading order: ``"relevance"``, ``"original"`` (the first stage's), or ``"ends"`` (the best at
        both ends).
    :raises ConfigurationError: If a setting is out of its range.
    """

    top_n: int | None = None
    min_probability: float | None = None
    min_keep: int = 0
    max_unscored: int | None = None
    budget: int | ContextBudget | None = None
    policy: Policy = "fill"
    duplicates: Duplicates = "exact"
    near: float = _NEAR
    diversity: float = 0.0
    adaptive: Adaptive | None = None
    order: Order = "relevance"
    max_per_source: int | None = None

    def __post_init__(self) -> None:
        """Check the settings, and make tokens a ``ContextBudget``."""
        object.__setattr__(self, "budget", as_budget(self.budget, ""))
        for name, least in (("top_n", 1), ("max_per_source", 1), ("min_keep", 0), ("max_unscored", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                limit = "" if name == "min_keep" else ", or None for no limit"
                raise ConfigurationError(f"{name} must be a whole number from {least}{limit}, got {value!r}")
        for name in ("min_probability", "near", "diversity"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigurationError(f"{name} must be within 0 and 1, got {value!r}")
        if self.near != _NEAR and self.duplicates != "near":
            raise ConfigurationError(
                f"near={self.near!r} has no effect with duplicates={self.duplicates!r}: it is for duplicates='near'"
            )

    @property
    def context_budget(self) -> ContextBudget | None:
        """The budget as a record."""
        return as_budget(self.budget, "")

    @property
    def extracts(self) -> bool:
        """Whether candidates need small windows, which are extracted instead of whole candidates."""
        return self.policy == "extract"

    @property
    def needs_probabilities(self) -> str:
        """The setting that can't work on a scale without probabilities; empty for none."""
        if self.min_probability is not None:
            return "min_probability"
        return type(self.adaptive).__name__ if isinstance(self.adaptive, CoveredMass) else ""


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


Closer = Callable[[Ranked], Ranked]
"""Scores small windows of a candidate, and returns it with them."""


def select(
    ranked: Sequence[Ranked],
    selection: Selection,
    exclude: Sequence[Candidate | str] = (),
    closer: Closer | None = None,
) -> Selected:
    """Choose among candidates that are given best first; each comes back exactly once, kept or dropped.

    A warning is logged where there are candidates and none fits the budget, and where the template names a field that
    none of them has; that none is relevant is logged as information.

    :param ranked: The candidates, best first.
    :param selection: The settings.
    :param exclude: Candidates, or their ids, that aren't to be kept.
    :param closer: Asked at most once, for the best candidate, where that doesn't fit the budget.
    """
    selected = choose(ranked, selection, exclude, closer)
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


def choose(
    ranked: Sequence[Ranked],
    selection: Selection,
    exclude: Sequence[Candidate | str] = (),
    closer: Closer | None = None,
) -> Selected:
    """Do what ``select`` does, and log nothing."""
    rules = Rules(
        copies=selection.duplicates != "keep",
        near=selection.near if selection.duplicates == "near" else None,
        diversity=selection.diversity,
        max_per_source=selection.max_per_source,
        max_unscored=selection.max_unscored,
    )
    passed, dropped = _filter(ranked, selection, exclude, rules)
    packed = _pack(passed, selection, rules)
    has_space = selection.context_budget is not None and selection.context_budget.max_tokens > 0
    if closer and has_space and wants_windows(passed, packed.kept, selection.policy):
        passed[0] = closer(passed[0])
        packed = _pack(passed, selection, rules)
    best_first = {item.rank_before: position for position, item in enumerate(ranked)}
    everything = sorted([*dropped, *packed.dropped], key=lambda item: best_first[item.rank_before])
    facts = _facts(packed, selection)
    blank_fields = (
        selection.context_budget.blank_fields(item.candidate for item in ranked)
        if selection.context_budget and ranked
        else ()
    )
    if blank_fields:
        facts["blank_fields"] = ", ".join(blank_fields)
    if everything and nothing_relevant(packed.kept, everything):
        facts["nothing_relevant"] = f"{everything[0].reason}, {everything[0].detail}"
    return Selected(tuple(packed.kept), tuple(everything), packed.context, packed.tokens, facts, _notes(passed, packed))


def _notes(passed: Sequence[Ranked], packed: Packed) -> tuple[Note, ...]:
    """Return a note where the best candidate didn't fit the budget, and a less relevant one is kept."""
    value = deciding(passed[0]) if passed else None
    kept = [deciding(item) for item in packed.kept]
    if value is None or not any(other is None or other < value for other in kept):
        return ()
    return tuple(
        Note(
            NoteKind.BEST_LEFT_OUT,
            f"the best candidate, {item.rank_before} in the first stage, doesn't fit the budget ({item.detail}), and "
            "less relevant ones are kept",
        )
        for item in packed.dropped
        if item.rank_before == passed[0].rank_before and item.reason is Reason.OVER_BUDGET
    )


def _filter(
    ranked: Sequence[Ranked], selection: Selection, exclude: Sequence[Candidate | str], rules: Rules
) -> FilterResult:
    passed, unranked = filter_unranked(ranked)
    passed, excluded = filter_excluded(passed, exclude, rules.near, selection.context_budget)
    sequence = PackingSequence(passed, rules, selection.context_budget)
    safe = sequence.best(selection.min_keep)
    copies = sequence.copies() if selection.adaptive else ()
    passed, unlikely = filter_threshold(passed, selection.min_probability, safe)
    passed, below = filter_adaptive(passed, selection.adaptive, safe, copies)
    return FilterResult(passed, [*unranked, *unlikely, *excluded, *below])


def _pack(passed: Sequence[Ranked], selection: Selection, rules: Rules) -> Packed:
    budget = selection.context_budget
    sequence = PackingSequence(passed, rules, budget)
    if budget is None:
        return pack_unlimited(passed, selection.order, selection.top_n, sequence)
    threshold = selection.min_probability
    return pack(passed, budget, selection.policy, selection.order, selection.top_n, threshold, sequence)


def _facts(packed: Packed, selection: Selection) -> dict[str, object]:
    budget = selection.context_budget
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
