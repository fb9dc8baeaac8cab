"""Fusion of the model's scores with first-stage scores, ranks and other signals.

A fusion is a record with one method, ``fuse``. It returns one value for each candidate, by which they are ordered,
higher first. Thresholds never read these values.

The list ``"first_stage"`` holds the first-stage scores where every scored candidate has one, else the first-stage ranks
(scores and ranks in one list would not be on one scale). Other lists are the candidates' ``signals``; a candidate
without a signal gets nothing from that list.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from secondpass.calibration import FittedRecord
from secondpass.errors import ConfigurationError, InputError, checked
from secondpass.records import Candidate

FIRST_STAGE = "first_stage"
RRF_K = 60.0
"""The constant of reciprocal rank fusion; the paper's."""


def rrf(rank: int, k: float = RRF_K) -> float:
    """Return the reciprocal rank ``1 / (k + rank)`` of a rank, counted from 1."""
    return 1.0 / (k + rank)


@dataclass(frozen=True, slots=True)
class FusionInput:
    """A scored candidate.

    :param candidate: The candidate.
    :param value: The model's raw value.
    :param rank_before: The first-stage rank, counted from 1.
    """

    candidate: Candidate
    value: float
    rank_before: int


@runtime_checkable
class Fusion(Protocol):
    """Combines several scores of each candidate into one."""

    def fuse(self, inputs: Sequence[FusionInput], known: Collection[str] = ()) -> list[float]:
        """Return one value for each input, in their order; higher is better.

        :param inputs: The candidates that were scored.
        :param known: The signals of all candidates of the call, scored or not; others are configuration errors.
        """
        ...


@checked
@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Reciprocal rank fusion: the sum of ``weight / (k + rank)`` over the model and the signals.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009. The model's own list has the weight 1.

    :param k: Flattens the difference between the first ranks; the paper's 60.
    :param weights: The other lists, and the weight of each.
    :raises ConfigurationError: If k isn't positive, or a weight is negative.
    """

    k: float = RRF_K
    weights: Mapping[str, float] = field(default_factory=lambda: {FIRST_STAGE: 1.0}, hash=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.k > 0:
            raise ConfigurationError(f"reciprocal rank fusion's k must be above 0, got {self.k!r}")
        _check_weights(self.weights)

    def fuse(self, inputs: Sequence[FusionInput], known: Collection[str] = ()) -> list[float]:
        """Return the fused value of each input."""
        lists = {name: list_values(name, inputs, known) for name in self.weights}
        fused = [rrf(rank, self.k) for rank in ranks_of([item.value for item in inputs], inputs)]
        for name, values in lists.items():
            present = [position for position, value in enumerate(values) if value is not None]
            ranks = ranks_of([values[p] or 0.0 for p in present], [inputs[p] for p in present])
            for position, rank in zip(present, ranks, strict=True):
                fused[position] += self.weights[name] * rrf(rank, self.k)
        return fused


@checked
@dataclass(frozen=True, slots=True)
class WeightedSum:
    """``(1 - alpha) * model + alpha * others``, each list scaled to 0..1 by its own minimum and maximum.

    Fox and Shaw, "Combination of multiple searches", TREC-2, 1994 (CombSUM), with weights.

    :param alpha: The total weight of the other lists: 0 is the model alone, 1 the other lists alone.
    :param weights: The other lists, and the share of ``alpha`` that each gets, relative to their sum.
    :raises ConfigurationError: If alpha isn't within 0..1, or the weights aren't positive numbers.
    """

    alpha: float = 0.3
    weights: Mapping[str, float] = field(default_factory=lambda: {FIRST_STAGE: 1.0}, hash=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 <= self.alpha <= 1:
            raise ConfigurationError(
                f"alpha must be within 0 (the model alone) and 1 (the others alone), got {self.alpha!r}"
            )
        _check_weights(self.weights)

    def fuse(self, inputs: Sequence[FusionInput], known: Collection[str] = ()) -> list[float]:
        """Return the fused value of each input, within 0..1; with an alpha of 0 the model's own values."""
        if self.alpha == 0:
            return [item.value for item in inputs]  # scaling could create ties
        total = sum(self.weights.values())
        fused = [(1 - self.alpha) * value for value in min_max([item.value for item in inputs])]
        for name, weight in self.weights.items():
            values = list_values(name, inputs, known)
            scaled = iter(min_max([value for value in values if value is not None]))
            for position, value in enumerate(values):
                if value is not None:
                    fused[position] += self.alpha * weight / total * next(scaled)
        return fused


@checked
def merge_lists(lists: Mapping[str, Sequence[Candidate]], fusion: ReciprocalRank | None = None) -> list[Candidate]:
    """Merge the results of several retrievers by reciprocal rank fusion, before reranking.

    Each candidate comes once, with its rank in the merged list and its reciprocal rank value as first-stage score. Its
    scores in the lists are its ``signals``, under the lists' names; ``1 / rank`` for a list without scores.

    :param lists: The candidates of each retriever by its name, best first, each with an id.
    :param fusion: ``k`` and the weight of each list; by default 60, and 1 for each.
    :raises InputError: If a candidate has no id.
    :raises ConfigurationError: If the fusion's weights name other lists.
    """
    if not lists:
        return []
    fusion = fusion or ReciprocalRank(weights=dict.fromkeys(lists, 1.0))
    if not fusion.weights.keys() <= lists.keys():
        raise ConfigurationError(f"the weights must be of the lists {sorted(lists)}, got {sorted(fusion.weights)}")
    merged: dict[str, Candidate] = {}
    totals: dict[str, float] = {}
    for name, candidates in lists.items():
        scored = all(candidate.score is not None for candidate in candidates)
        for rank, (key, candidate) in enumerate(_by_id(name, candidates).items(), start=1):
            first = merged.get(key, candidate)
            signal = candidate.score if scored and candidate.score is not None else 1.0 / rank
            merged[key] = replace(first, signals={**first.signals, name: signal})
            totals[key] = totals.get(key, 0.0) + fusion.weights.get(name, 0.0) * rrf(rank, fusion.k)
    best_first = sorted(merged, key=lambda key: -totals[key])  # ties: the first list's order
    return [replace(merged[key], score=totals[key], rank=rank) for rank, key in enumerate(best_first, start=1)]


def _by_id(name: str, candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    """Return a list's candidates by id, a repeated one at its best rank."""
    first: dict[str, Candidate] = {}
    for rank, candidate in enumerate(candidates, start=1):
        if candidate.id is None:
            raise InputError(f"merging needs candidates with ids, and rank {rank} of {name!r} has none")
        first.setdefault(candidate.id, candidate)
    return first


def min_max(values: Sequence[float]) -> list[float]:
    """Scale values to 0..1 by their minimum and maximum; equal values all become 0.5."""
    if not values:
        return []
    low, high = min(values) / 2, max(values) / 2  # halved, so that the span of huge values is still a number
    if high == low:
        return [0.5] * len(values)
    return [(value / 2 - low) / (high - low) for value in values]


def _check_weights(weights: Mapping[str, float]) -> None:
    if not weights or any(not weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise ConfigurationError(f"fusion weights must be 0 or more, and one of them above 0, got {dict(weights)!r}")


def list_values(name: str, inputs: Sequence[FusionInput], known: Collection[str]) -> list[float | None]:
    """Return each candidate's value in a list, higher is better; None where it has none."""
    if name == FIRST_STAGE:
        scores = [item.candidate.score for item in inputs]
        if all(score is not None for score in scores):
            return scores
        return [-float(item.rank_before) for item in inputs]
    values = [item.candidate.signals.get(name) for item in inputs]
    if inputs and name not in known and all(value is None for value in values):
        carried = sorted({signal for item in inputs for signal in item.candidate.signals})
        raise ConfigurationError(f"fusion asks for the signal {name!r}, and no candidate has it; they have {carried}")
    return values


def ranks_of(values: Sequence[float], inputs: Sequence[FusionInput]) -> list[int]:
    """Rank from 1, highest first; ties go to the better first-stage rank."""
    order = sorted(range(len(values)), key=lambda position: (-values[position], inputs[position].rank_before))
    ranks = [0] * len(values)
    for rank, position in enumerate(order, start=1):
        ranks[position] = rank
    return ranks


OWN_FEATURES = ("model", "model rank", "first stage", "first-stage rank")


@checked
@dataclass(frozen=True, slots=True)
class LearnedFusion(FittedRecord):
    """Orders by a linear combination of features; ``evaluation.fit_fusion`` fits the weights.

    The features are the model's raw value, the first-stage score scaled to 0..1 within the call, ``60 / (60 + rank)``
    by both, and the signals scaled to 0..1 within the call. A candidate without a signal gets 0 for it.

    :param fingerprint: ``Spec.calibrated_as`` of the model it was fitted on.
    :param weights: The weight of each feature: ``OWN_FEATURES``, then the signals.
    :param signals: The signals' names.
    :param questions: On how many questions it was fitted.
    :raises ConfigurationError: If there isn't a finite weight for each feature.
    """

    fingerprint: str
    weights: tuple[float, ...]
    signals: tuple[str, ...] = ()
    questions: int = 0

    def __post_init__(self) -> None:
        """Check the weights."""
        names = (*OWN_FEATURES, *self.signals)
        if len(self.weights) != len(names) or not all(map(math.isfinite, self.weights)):
            raise ConfigurationError(f"there must be a finite weight for each of {names}, got {self.weights!r}")

    def fuse(self, inputs: Sequence[FusionInput], known: Collection[str] = ()) -> list[float]:
        """Return the fused value of each input."""
        rows = fusion_features(inputs, self.signals, known)
        return [sum(weight * feature for weight, feature in zip(self.weights, row, strict=True)) for row in rows]


def fusion_features(
    inputs: Sequence[FusionInput], signals: Sequence[str] = (), known: Collection[str] = ()
) -> list[list[float]]:
    """Return the features of each candidate: ``OWN_FEATURES``, then the signals."""
    model = [item.value for item in inputs]
    columns = [
        model,
        [RRF_K * rrf(rank) for rank in ranks_of(model, inputs)],
        _scaled(list_values(FIRST_STAGE, inputs, known)),
        [RRF_K * rrf(item.rank_before) for item in inputs],
        *(_scaled(list_values(name, inputs, known)) for name in signals),
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _scaled(values: Sequence[float | None]) -> list[float]:
    scaled = iter(min_max([value for value in values if value is not None]))
    return [0.0 if value is None else next(scaled) for value in values]
