"""Input and output of scorers: pairs, scores, their scale, and the scorer's specification."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from secondpass.calibration import Answerability, Calibration, log_odds, logistic
from secondpass.errors import ConfigurationError, checked


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
    :param probability: The value as a probability; None on a scale that has none.
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
    COLD = "cold"  # the model was still loading, and the call was not to wait for it
    PRUNED = "pruned"  # left out on purpose: a cheaper scorer ruled it out


@dataclass(frozen=True, slots=True)
class Unscored:
    """A pair without a score.

    :param reason: Why there is none.
    :param detail: The reason in words.
    :param cheap_score: The raw value that a cascade's earlier stage gave, on that stage's scale; None without one.
    :param place: The pair's position, from 0, in the order in which the unscored follow the scored; None leaves it to
        the first stage, after those that have one.
    """

    reason: UnscoredReason
    detail: str = ""
    cheap_score: float | None = None
    place: int | None = None


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
    :param call_invariant: Whether a pair's outcome is independent of the other pairs of its call; False where pairs
        compete, as in a cascade. Such outcomes can't be cached.
    :param own_windows: Whether scores come with windows of the scorer's own choice, such as the sentences that a model
        marks: extraction takes those instead of cutting texts.
    :param weights: A hash of the files that decide a score, with the label that is read; empty where there is none.
    :param answerability: Fitted on labelled questions, for ``Ranking.answerable``; None for none.
    """

    name: str
    scale: Scale
    fingerprint: str
    max_tokens: int | None = None
    batch_invariant: bool = True
    call_invariant: bool = True
    own_windows: bool = False
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
