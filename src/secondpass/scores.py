"""What scorers are given and give back: pairs, outcomes, the scale they are on, and the call they answer."""

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from secondpass.errors import ConfigurationError


class Pair(NamedTuple):
    """A question and one text to read with it."""

    query: str
    text: str


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text that was scored by itself: characters ``start`` to ``end``, and its raw value."""

    start: int
    end: int
    value: float


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer thinks of one pair.

    :param value: Raw, on the scorer's scale, always finite; higher is better.
    :param windows: The parts that were scored apart, if any.
    :param truncated: How many tokens of the pair the model never saw.
    """

    value: float
    windows: tuple[Window, ...] = ()
    truncated: int = 0


class UnscoredReason(StrEnum):
    """Why a pair has no score."""

    PRUNED = "pruned"  # a cheaper scorer had it too far down
    DEADLINE = "deadline"  # the call's time was up
    CANCELLED = "cancelled"  # the caller went away
    INVALID = "invalid"  # the model gave NaN or infinity, or there was nothing to read
    FAILED = "failed"  # the scorer broke down on it


@dataclass(frozen=True, slots=True)
class Unscored:
    """A pair without a score, and the reason; ``cheap`` is what a pruning scorer gave it."""

    reason: UnscoredReason
    detail: str = ""
    cheap: Score | None = None


class ScaleKind(StrEnum):
    """What a raw value is."""

    LOGIT = "logit"  # log-odds: any number, 0 is even odds
    PROBABILITY = "probability"  # 0 to 1
    BOUNDED = "bounded"  # from low to high, with no claim to be a probability


@dataclass(frozen=True, slots=True)
class Scale:
    """What raw values mean, and how they become probabilities.

    :param kind: What a raw value is.
    :param low: The lowest value on a bounded scale.
    :param high: The highest value on a bounded scale.
    :param declared: What the model's own configuration says of its outputs, in its words.
    """

    kind: ScaleKind
    low: float = 0.0
    high: float = 1.0
    declared: str = ""

    def __post_init__(self) -> None:
        """Check that a bounded scale has a width."""
        if self.kind is ScaleKind.BOUNDED and not self.low < self.high:
            raise ConfigurationError(f"a bounded scale's low must be below its high, got {self.low} and {self.high}")

    def probability(self, value: float) -> float:
        """Return the value as a number from 0 to 1.

        Log-odds go through the logistic function (written so that it can't overflow), a bounded value is scaled
        linearly, a probability stays. The order of candidates never comes from here: the logistic function
        saturates, and would make ties of what the model told apart.
        """
        if self.kind is ScaleKind.LOGIT:
            if value >= 0:
                return 1.0 / (1.0 + math.exp(-value))
            return math.exp(value) / (1.0 + math.exp(value))
        if self.kind is ScaleKind.BOUNDED:
            value = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, value))


LOGIT = Scale(ScaleKind.LOGIT)
PROBABILITY = Scale(ScaleKind.PROBABILITY)


@dataclass(frozen=True, slots=True)
class Spec:
    """What is known of a scorer.

    :param name: The model's name as the user gave it.
    :param scale: What its raw values mean.
    :param fingerprint: Everything that decides a score, as one string: weights, engine, dtype, length, labels.
    :param max_tokens: The longest pair that it reads, in its own tokens; None where there is no limit.
    :param batch_invariant: Whether a score is free of who else is in the batch.
    """

    name: str
    scale: Scale
    fingerprint: str
    max_tokens: int | None = None
    batch_invariant: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the road: its name, its seconds, and the facts that it wants to tell."""

    name: str
    seconds: float
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """One outcome for each pair, in the order of the pairs, all on the scale of ``by``."""

    outcomes: tuple[Score | Unscored, ...]
    by: Spec
    stages: tuple[Stage, ...] = ()


class Call:
    """One caller's patience: a deadline, and a way to say that nobody waits any more. Safe across threads.

    :param deadline_ms: Milliseconds from now until the answer is worth nothing; None waits as long as it takes.
    """

    __slots__ = ("_cancelled", "deadline")

    def __init__(self, deadline_ms: float | None = None) -> None:
        if deadline_ms is not None and math.isnan(deadline_ms):
            raise ConfigurationError("deadline_ms must be a number of milliseconds, or None for no limit, got NaN")
        self.deadline = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Say that nobody waits for the answer any more."""
        self._cancelled.set()

    def over(self) -> UnscoredReason | None:
        """Return why the work should stop now, or None while it should go on."""
        if self._cancelled.is_set():
            return UnscoredReason.CANCELLED
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return UnscoredReason.DEADLINE
        return None
