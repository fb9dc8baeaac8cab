"""The candidate: one text from the first stage, with its id, scores and rank."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secondpass.errors import InputError, check_list


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
