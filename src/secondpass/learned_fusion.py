"""Learned fusion: a weighted combination of model score, ranks, first-stage score and signals, fitted on questions."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from secondpass.calibration import FittedRecord
from secondpass.errors import ConfigurationError, checked
from secondpass.fusion import FIRST_STAGE, FusionInput, list_values, min_max, ranks_of

OWN_FEATURES = ("model", "model rank", "first stage", "first-stage rank")
_K = 60.0  # of reciprocal ranks, as in reciprocal rank fusion


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
        [_K / (_K + rank) for rank in ranks_of(model, inputs)],
        _scaled(list_values(FIRST_STAGE, inputs, known)),
        [_K / (_K + item.rank_before) for item in inputs],
        *(_scaled(list_values(name, inputs, known)) for name in signals),
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _scaled(values: Sequence[float | None]) -> list[float]:
    scaled = iter(min_max([value for value in values if value is not None]))
    return [0.0 if value is None else next(scaled) for value in values]
