"""Calibration: fitted records that turn a model's values into probabilities that hold. Applied without any library.

``evaluation.fit_calibration`` and ``evaluation.fit_answerability`` fit them. A file ``calibration.json`` or
``answerability.json`` in a model's folder is applied when the model is loaded.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from secondpass.errors import ConfigurationError, checked

CALIBRATION_FILE = "calibration.json"
ANSWERABILITY_FILE = "answerability.json"
RECORD_FILES = (CALIBRATION_FILE, ANSWERABILITY_FILE)
Method = Literal["temperature", "platt", "isotonic"]
_TOP = 5  # candidates whose mean is a feature


class FittedRecord:
    """A record with a fingerprint, kept as JSON."""

    __slots__ = ()
    fingerprint: str

    def check(self, fingerprint: str, name: str) -> None:
        """Check that the record was fitted on this model.

        :param fingerprint: ``Spec.calibrated_as`` of the model.
        :param name: Its name, for the error.
        :raises ConfigurationError: If it was fitted on another one.
        """
        if self.fingerprint != fingerprint:
            raise ConfigurationError(
                f"a {type(self).__name__.lower()} holds for the model that it was fitted on, {self.fingerprint!r:.70}, "
                f"and {name} is {fingerprint!r:.70}: fit it anew"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every record is a dataclass

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the record that ``to_dict`` wrote.

        :raises ConfigurationError: If a field is missing, unknown, or out of its range.
        """
        if not isinstance(data, Mapping):
            raise ConfigurationError(f"the data of a {cls.__name__} must be an object, got {type(data).__name__}")
        return cls(**{str(name): _as_tuple(value) for name, value in data.items()})

    @checked
    def save(self, path: str | Path) -> None:
        """Write a JSON file: as ``calibration.json`` or ``answerability.json`` in the model's folder it is applied."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Self:
        """Read the file that ``save`` wrote.

        :raises ConfigurationError: If it is missing or no such file.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} must be the JSON file of a {cls.__name__}: {error}") from error


@checked
@dataclass(frozen=True, slots=True)
class Calibration(FittedRecord):
    """A map from log-odds (of an unknown scale, from raw values) to probabilities; never falling.

    Temperature, ``slope * x``, and Platt scaling, ``slope * x + intercept``, go through the logistic function; isotonic
    regression is linear between its points. Platt, "Probabilistic outputs for support vector machines", 1999; Zadrozny
    and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002; Guo et al.,
    "On calibration of modern neural networks", ICML 2017.

    :param method: ``"temperature"``, ``"platt"`` or ``"isotonic"``.
    :param fingerprint: ``Spec.calibrated_as`` of the model it was fitted on.
    :param slope: The factor; one divided by the temperature.
    :param intercept: What is added; 0 for a temperature.
    :param points: Isotonic regression's points, ``(x, probability)``, both rising.
    :param pairs: On how many labelled pairs it was fitted.
    :raises ConfigurationError: If a setting is out of its range.
    """

    method: Method
    fingerprint: str
    slope: float = 1.0
    intercept: float = 0.0
    points: tuple[tuple[float, float], ...] = ()
    pairs: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not (self.slope > 0 and math.isfinite(self.slope) and math.isfinite(self.intercept)):
            raise ConfigurationError(f"the slope must be above 0 and finite, got {self.slope!r} and {self.intercept!r}")
        if bool(self.points) != (self.method == "isotonic"):
            raise ConfigurationError(
                f"isotonic regression must have points, and no other method; got {self.points!r:.80}"
            )
        if any(len(point) != 2 or not all(map(math.isfinite, point)) for point in self.points):
            raise ConfigurationError(f"isotonic points must be pairs of finite numbers, got {self.points!r:.80}")
        xs, ys = [point[0] for point in self.points], [point[1] for point in self.points]
        if xs != sorted(xs) or ys != sorted(ys) or not all(0 <= y <= 1 for y in ys):
            raise ConfigurationError(
                f"isotonic points must rise, to probabilities from 0 to 1, got {self.points!r:.80}"
            )

    def probability(self, x: float) -> float:
        """Return the calibrated probability."""
        if self.method != "isotonic":
            return logistic(self.slope * x + self.intercept)
        place = bisect_right(self.points, x, key=lambda point: point[0])
        if place in (0, len(self.points)):
            return self.points[min(place, len(self.points) - 1)][1]
        (x0, y0), (x1, y1) = self.points[place - 1 : place + 1]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@checked
@dataclass(frozen=True, slots=True)
class Answerability(FittedRecord):
    """The probability that what is kept holds the answer: logistic regression over the distribution of the scores.

    :param fingerprint: ``Spec.calibrated_as`` of the model it was fitted on.
    :param weights: The weight of each of ``FEATURES``.
    :param intercept: What is added.
    :param questions: On how many labelled questions it was fitted.
    :raises ConfigurationError: If there isn't a weight for each feature.
    """

    fingerprint: str
    weights: tuple[float, ...]
    intercept: float
    questions: int = 0

    def __post_init__(self) -> None:
        """Check the weights."""
        if len(self.weights) != len(FEATURES) or not all(map(math.isfinite, (*self.weights, self.intercept))):
            raise ConfigurationError(f"there must be a finite weight for each of {FEATURES}, got {self.weights!r}")

    def probability(self, kept: Sequence[float], dropped: Sequence[float]) -> float:
        """Return the probability that one of the kept answers the question; 0 where nothing is kept.

        :param kept: The log-odds of the kept candidates.
        :param dropped: Those of the others that have a score.
        """
        if not kept:
            return 0.0
        pairs = zip(self.weights, features(kept, dropped), strict=True)
        return logistic(self.intercept + sum(weight * feature for weight, feature in pairs))


FEATURES = ("best kept", "gap behind the best", "mean of the best 5", "log of how many are kept")


def features(kept: Sequence[float], dropped: Sequence[float]) -> list[float]:
    """Return the ``FEATURES`` of a question from log-odds, of which at least one is kept."""
    ranked = sorted((*kept, *dropped), reverse=True)
    gap = ranked[0] - ranked[1] if len(ranked) > 1 else 0.0
    top = ranked[:_TOP]
    return [max(kept), gap, sum(top) / len(top), math.log(len(kept))]


def logistic(x: float) -> float:
    """Return ``1 / (1 + exp(-x))``, in a form that can't overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))


def log_odds(probability: float) -> float:
    """Return ``log(p / (1 - p))``, with the probability kept within 1e-9 of 0 and 1."""
    clipped = min(1.0 - 1e-9, max(1e-9, probability))
    return math.log(clipped / (1.0 - clipped))


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
