"""Records of the pipeline: candidates, pairs, scores with their scale, a scorer's specification, and one call."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from numbers import Real
from typing import Any

from secondpass.calibration import Answerability, Calibration, log_odds, logistic
from secondpass.errors import ConfigurationError, InputError, check_list, checked


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text that the first stage retrieved.

    :param text: The text that the scorer reads.
    :param id: The caller's identifier; optional, and not necessarily unique.
    :param score: The first-stage score, higher is better. NaN and infinity count as missing.
    :param rank: The first-stage rank, counted from 1; None takes the position in the input.
    :param signals: Further named numbers, higher is better, for fusion (``{"bm25": 12.3, "recency": 0.8}``).
    :param source: The document or retriever that it comes from.
    :param metadata: Further fields for the budget's template.
    :param prompt_text: The text that the LLM reads, where that differs from ``text``.
    :param header_length: How many characters at the start of that text are a header, such as metadata: a cut of the
        candidate must leave something behind it.
    :param media: Whether it holds more than text, such as an image: it is kept without any text too, after the scored.
    :param payload: The caller's own object; never read, changed or compared.
    :raises InputError: If a field has the wrong type.
    """

    text: str
    id: str | None = None
    score: float | None = None
    rank: int | None = None
    signals: Mapping[str, float] = field(default_factory=dict, hash=False)
    source: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
    prompt_text: str | None = None
    header_length: int = 0
    media: bool = False
    payload: object = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the types, and convert numbers of other libraries to Python's."""
        if not isinstance(self.text, str):
            raise InputError(f"a candidate's text must be a string, got {type(self.text).__name__}: {self.text!r:.80}")
        for name in ("id", "source", "prompt_text"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InputError(f"a candidate's {name} must be a string or None, got {value!r:.80}")
        rank = _number("rank", self.rank)
        if rank is not None and (rank < 1 or rank != int(rank)):
            raise InputError(f"a first-stage rank must be a whole number from 1, got {self.rank!r}")
        for name in ("signals", "metadata"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"a candidate's {name} must be a mapping, got {getattr(self, name)!r:.80}")
        set_ = object.__setattr__
        set_(self, "score", _number("score", self.score))
        set_(self, "rank", None if rank is None else int(rank))
        signals = {name: _number(f"signal {name!r}", value) for name, value in self.signals.items()}
        set_(self, "signals", {name: value for name, value in signals.items() if value is not None})

    @property
    def reading(self) -> str:
        """The text that the LLM reads."""
        return self.text if self.prompt_text is None else self.prompt_text

    @property
    def text_header(self) -> int:
        """How many characters at the start of ``text`` are a header: what stands before the reading's body."""
        text, body = self.text.rstrip(), self.reading[self.header_length :].rstrip()
        return len(text) - len(body) if body and text.endswith(body) else 0

    def reading_spans(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int] | None]:
        """Return where parts of ``text`` stand in ``reading``, without outer blanks; None for what isn't in it.

        Both must end alike, as the forms of a node do that differ in their headers: over half of the shorter one's
        length. A header is never part of a span.
        """
        text, reading = self.text.rstrip(), self.reading.rstrip()
        first = bisect_left(range(len(text)), 1, key=lambda start: reading.endswith(text[start:]))
        if 2 * (len(text) - first) < min(len(text), len(reading)):
            return [None for _ in spans]
        shift = len(reading) - len(text)
        first = max(first + shift, self.header_length)
        return [_stripped(reading, max(start + shift, first), end + shift) for start, end in spans]


def as_candidates(items: Iterable["str | Candidate"]) -> tuple[Candidate, ...]:
    """Wrap texts as candidates; candidates stay as they are.

    :raises InputError: If an item is neither, naming its position, or they have no order.
    """
    check_list(items, "candidates must be a list of texts or Candidates")
    return tuple(_as_candidate(position, item) for position, item in enumerate(items))


def first_stage_ranks(candidates: Sequence[Candidate]) -> list[int]:
    """Return each candidate's first-stage rank, counted from 1, without gaps or ties.

    The candidates' own ranks are used where every candidate has one, else the input order. Ties go to the earlier one.
    """
    positions = list(range(len(candidates)))
    if all(candidate.rank is not None for candidate in candidates):
        positions.sort(key=lambda position: candidates[position].rank or 0)
    ranks = [0] * len(candidates)
    for rank, position in enumerate(positions, start=1):
        ranks[position] = rank
    return ranks


def _as_candidate(position: int, item: "str | Candidate") -> Candidate:
    if isinstance(item, Candidate):
        return item
    if isinstance(item, str):
        return Candidate(item)
    raise InputError(
        f"candidates must be texts or Candidates, got {type(item).__name__} at position {position}: "
        "wrap it as Candidate(text, payload=...)"
    )


def _stripped(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start : max(start, end)]
    start += len(part) - len(part.lstrip())
    return (start, start + len(part.strip())) if part.strip() else None


def changed_fields(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that aren't their defaults, by name."""
    values = {item.name: (getattr(record, item.name), item.default) for item in fields(record)}
    return {name: value for name, (value, default) in values.items() if value != default}


def as_python(value: Any) -> Any:
    """Return numpy's dates and durations, numbers of any unit, as Python's, and pandas's missing values as None."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return value.astype(f"{kind}8[us]").item() if kind in ("M", "m") and getattr(value, "ndim", 1) == 0 else value


def _number(name: str, value: object) -> float | None:
    value = as_python(value)
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # anything with __float__, numpy's scalars among them
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a candidate's {name} must be a number or None, got {value!r:.80}") from error
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and one text to score against it; it can be unpacked into these two.

    :param query: The query.
    :param text: The text.
    :param header: How many characters at the start of the text are a header, such as its title, which a scorer that
        cuts the text repeats before each window.
    """

    query: str
    text: str
    header: int = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the query and the text."""
        yield self.query
        yield self.text


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text that was scored by itself.

    :param start: Where it starts, in characters of the text.
    :param end: Where it ends.
    :param value: Its raw value on the scorer's scale, always finite.
    :param probability: The value as a probability, in a ranking; None on a scale that has none, and from a scorer.
    """

    start: int
    end: int
    value: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one pair.

    :param value: The raw value on the scorer's scale, always finite; higher is better.
    :param truncated: How many tokens of the text no model read: what was cut off, and windows that were not scored.
    :param windows: The scored windows of the text, in its order; empty where the scorer reads texts as a whole.
    :param partial: Whether the call ended before the whole text was scored: another call may give another value.
    :param query_cut: How many tokens of the query the model did not read.
    """

    value: float
    truncated: int = 0
    windows: tuple[Window, ...] = ()
    partial: bool = False
    query_cut: int = 0

    @property
    def best_window(self) -> Window | None:
        """The window with the highest value, the first of equal ones; None without windows."""
        return max(self.windows, key=lambda window: window.value, default=None)


class NoteKind(StrEnum):
    """What a note is about."""

    BEST_LEFT_OUT = "best left out"  # the best candidate didn't fit the budget, and weaker ones took its place
    BEST_FELL = "best fell"  # the first stage's best candidate is far down, or was pruned
    UNLIKELY = "unlikely"  # no candidate is probably relevant
    QUERY_CUT = "query cut"  # the model didn't read the whole query
    UNREADABLE = "unreadable"  # texts in a script that the model doesn't read
    LEFT_OUT = "left out"  # a scorer returned no score for some texts
    FUSION_LEFT_OUT = "fusion left out"  # the fusion rule was fitted on another model's scores


@dataclass(frozen=True, slots=True)
class Note:
    """Why the context may be wrong, although the call succeeded.

    :param kind: What it is about.
    :param text: One sentence for people, without texts of candidates.
    :param counted: Whether it was made from outcomes, and is made anew from others.
    """

    kind: NoteKind
    text: str
    counted: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text

    def to_dict(self) -> dict[str, str]:
        """Return plain data."""
        return {"kind": str(self.kind), "text": self.text}


class UnscoredReason(StrEnum):
    """Why a pair has no score."""

    DEADLINE = "deadline"  # not scored before the call's deadline
    CANCELLED = "cancelled"  # the call was cancelled first
    INVALID = "invalid"  # the model gave NaN or infinity
    EMPTY = "empty"  # there is nothing to score, as for an image
    UNREADABLE = "unreadable"  # the text is in a script that the model doesn't read
    FAILED = "failed"  # the scorer failed
    LOADING = "loading"  # the model was still loading, and the call was not to wait for it
    PRUNED = "pruned"  # left out on purpose: a cheaper scorer ruled it out


@dataclass(frozen=True, slots=True)
class Unscored:
    """A pair without a score.

    :param reason: Why there is none.
    :param detail: The reason in words.
    :param cheap_score: The raw value that a cascade's earlier stage gave, on that stage's scale; None without one.
    :param fallback_rank: The pair's position, from 0, in the order in which the unscored follow the scored; None
        leaves it to the first stage, after those that have one.
    """

    reason: UnscoredReason
    detail: str = ""
    cheap_score: float | None = None
    fallback_rank: int | None = None


class ScaleKind(StrEnum):
    """The kind of a raw value."""

    LOGIT = "logit"  # log-odds: any number, 0 is even odds
    PROBABILITY = "probability"  # 0 to 1
    BOUNDED = "bounded"  # low to high, linear in relevance but no probability
    UNKNOWN = "unknown"  # higher is better, and nothing else is known


@checked
@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of raw values, and their conversion to probabilities.

    :param kind: The kind of a raw value.
    :param low: The lowest value of a bounded scale.
    :param high: The highest value of a bounded scale.
    :param declared: The output activation that the model's configuration names.
    :param calibration: Fitted on labelled pairs; None takes the scale's own probabilities.
    :raises ConfigurationError: If a bounded scale's ``low`` isn't below its ``high``, or a temperature is to calibrate
        an unknown scale, which has no zero.
    """

    kind: ScaleKind
    low: float = 0.0
    high: float = 1.0
    declared: str = ""
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.kind is ScaleKind.BOUNDED and not self.low < self.high:
            raise ConfigurationError(f"a bounded scale's low must be below its high, got {self.low} and {self.high}")
        if self.kind is ScaleKind.UNKNOWN and self.calibration and self.calibration.method == "temperature":
            raise ConfigurationError(
                "an unknown scale has no zero for a temperature: calibrate it by platt or isotonic"
            )

    @property
    def has_probabilities(self) -> bool:
        """Whether raw values can be read as probabilities."""
        return self.kind is not ScaleKind.UNKNOWN or self.calibration is not None

    def log_odds(self, value: float) -> float:
        """Return a raw value as log-odds, before any calibration; of an unknown scale the value itself."""
        if self.kind in (ScaleKind.LOGIT, ScaleKind.UNKNOWN):
            return value
        return log_odds((value - self.low) / (self.high - self.low))

    def probability(self, value: float) -> float | None:
        """Return a raw value as a number from 0 to 1, or None on an unknown scale without a calibration.

        Without a calibration, log-odds go through the logistic function, bounded values are scaled linearly,
        probabilities stay. Candidates are ordered by raw values, never by probabilities: the logistic function
        saturates in floating point, which would create ties.
        """
        if self.calibration is not None:
            return self.calibration.probability(self.log_odds(value))
        if self.kind is ScaleKind.UNKNOWN:
            return None
        if self.kind is ScaleKind.LOGIT:
            return logistic(value)
        if self.kind is ScaleKind.BOUNDED:
            value = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, value))

    def applied_to(self, outcome: Score | Unscored) -> Score | Unscored:
        """Return an outcome with the probabilities of its windows."""
        if isinstance(outcome, Unscored) or not outcome.windows:
            return outcome
        windows = (replace(window, probability=self.probability(window.value)) for window in outcome.windows)
        return replace(outcome, windows=tuple(windows))


LOGIT = Scale(ScaleKind.LOGIT)
PROBABILITY = Scale(ScaleKind.PROBABILITY)


@checked
@dataclass(frozen=True, slots=True)
class Spec:
    """The specification of a scorer.

    :param name: The model's name as the user gave it.
    :param scale: The scale of its raw values.
    :param fingerprint: Everything that decides a score, as one string: weights, engine, dtype, length, labels.
    :param max_tokens: The longest pair that the model reads, in its own tokens; None for no limit.
    :param batch_invariant: Whether a pair's score is independent of the other pairs in its batch.
    :param pointwise: Whether a pair's outcome is independent of the other pairs of its call; False where pairs
        compete, as in a cascade. Such outcomes can't be cached.
    :param returns_spans: Whether scores come with windows of the scorer's own choice, such as the sentences that a
        model marks: extraction takes those instead of cutting texts.
    :param weights: A hash of the files that decide a score, with the label that is read; empty where there is none.
    :param answerability: Fitted on labelled questions, for ``Ranking.answerable``; None for none.
    """

    name: str
    scale: Scale
    fingerprint: str
    max_tokens: int | None = None
    batch_invariant: bool = True
    pointwise: bool = True
    returns_spans: bool = False
    weights: str = ""
    answerability: Answerability | None = None

    @property
    def calibrated_as(self) -> str:
        """What a calibration is matched by: the weights, whatever runs them, else the fingerprint."""
        return self.weights or self.fingerprint

    def calibrated(self, calibration: Calibration | None = None, answerability: Answerability | None = None) -> "Spec":
        """Return the specification with fitted records; without one, its own stay.

        :raises ConfigurationError: If a record was fitted on another model.
        """
        for record in (calibration, answerability):
            if record is not None:
                record.check(self.calibrated_as, self.name)
        scale = self.scale if calibration is None else replace(self.scale, calibration=calibration)
        return replace(self, scale=scale, answerability=answerability or self.answerability)


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of the pipeline did.

    :param name: ``score``, ``fuse`` or ``select``.
    :param seconds: How long it took.
    :param facts: Further figures and settings for the report.
    """

    name: str
    seconds: float
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of scoring a list of pairs.

    :param outcomes: One outcome for each pair, in the order of the pairs.
    :param by: The scorer's specification; all outcomes are on its scale.
    :param stages: Timing and further facts for the report.
    :param notes: Why the outcomes may mislead. Those on texts that the model doesn't read, and on a query that was cut,
        are added here, so that they hold for any part of the outcomes, in whatever scorer.
    """

    outcomes: tuple[Score | Unscored, ...]
    by: Spec
    stages: tuple[Stage, ...] = ()
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        """Make the notes that follow from the outcomes.

        :raises ConfigurationError: If outcomes aren't a list, or notes aren't one of notes.
        """
        for name, items in (("outcomes", self.outcomes), ("notes", self.notes)):
            if not isinstance(items, Sequence) or isinstance(items, str):
                raise ConfigurationError(f"Scored: {name} must be a list, got {items!r:.80}")
        if not all(isinstance(note, Note) for note in self.notes):
            raise ConfigurationError(f"Scored: notes must be a list, each a Note, got {self.notes!r:.80}")
        notes = [note for note in self.notes if not note.counted]
        cut = max((item.query_cut for item in self.outcomes if isinstance(item, Score)), default=0)
        unread = [item for item in self.outcomes if isinstance(item, Unscored)]
        unread = [item for item in unread if item.reason is UnscoredReason.UNREADABLE]
        if cut:
            notes.append(Note(NoteKind.QUERY_CUT, f"{cut} tokens of the query were cut: it is too long", counted=True))
        if unread:
            text = f"{len(unread)} of {len(self.outcomes)} texts were not scored: {unread[0].detail}"
            notes.append(Note(NoteKind.UNREADABLE, text, counted=True))
        object.__setattr__(self, "notes", tuple(dict.fromkeys(notes)))


_POLL_SECONDS = 0.1
"""How long a cancelled caller goes on waiting for an engine that hangs, at most."""


@checked
class Call:
    """Deadline and cancellation of one call. Safe across threads.

    :param deadline_ms: Milliseconds from now after which the caller no longer waits for scores; None for no limit.
    :raises ConfigurationError: If ``deadline_ms`` is no number, negative or NaN.
    """

    __slots__ = ("_cancelled", "deadline")

    def __init__(self, deadline_ms: float | None = None) -> None:
        check_deadline(deadline_ms)
        milliseconds = math.inf if deadline_ms is None else deadline_ms
        self.deadline = time.monotonic() + milliseconds / 1000 if math.isfinite(milliseconds) else None
        self._cancelled = threading.Event()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def wait_seconds(self) -> float:
        """Seconds to wait for a result before ``stop_reason`` is asked again."""
        remaining = self.remaining
        return _POLL_SECONDS if remaining is None else min(_POLL_SECONDS, remaining)

    def cancel(self) -> None:
        """Cancel the call: scoring stops after the batch in progress."""
        self._cancelled.set()

    def stop_reason(self) -> UnscoredReason | None:
        """Return why scoring should stop, or None while it should go on."""
        if self._cancelled.is_set():
            return UnscoredReason.CANCELLED
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return UnscoredReason.DEADLINE
        return None


def as_call(call: Call | None, deadline_ms: float | None = None) -> Call:
    """Return the call that was given, or one with a deadline of its own.

    :raises ConfigurationError: If it is something else.
    """
    if call is not None and not isinstance(call, Call):
        raise ConfigurationError(f"call must be a Call, such as Call(deadline_ms=200), got {call!r:.80}")
    return Call(deadline_ms) if call is None else call


def check_deadline(deadline_ms: float | None) -> None:
    """Check a deadline in milliseconds.

    :raises ConfigurationError: If it is no number, negative or NaN.
    """
    number = isinstance(deadline_ms, Real) and not isinstance(deadline_ms, bool)
    if deadline_ms is not None and not (number and deadline_ms >= 0):
        raise ConfigurationError(
            f"deadline_ms must be 0 or more milliseconds, or None for no limit, got {deadline_ms!r}"
        )
