"""What is ranked: the candidate, whatever store or framework it comes from."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from secondpass.errors import InputError


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text that the first stage found.

    :param text: What the scorer reads.
    :param id: The caller's own name for it; not needed, and not necessarily unique.
    :param score: The first-stage score, higher is better. NaN and infinity count as missing.
    :param rank: The first-stage rank, counted from 1; without it, the position in the input counts.
    :param signals: Further named numbers, higher is better, for fusion (``{"bm25": 12.3, "recency": 0.8}``).
    :param source: Which retriever it came from.
    :param metadata: Further fields, such as a title or a date, that a prompt template can name.
    :param prompt_text: What the LLM will read, where that differs from ``text``.
    :param payload: The caller's own object, carried along untouched and never compared.
    :raises InputError: If the text isn't a string, or a number isn't one.
    """

    text: str
    id: str | None = None
    score: float | None = None
    rank: int | None = None
    signals: Mapping[str, float] = field(default_factory=dict, hash=False)
    source: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
    prompt_text: str | None = None
    payload: object = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the types, and turn numpy's numbers into Python's."""
        if not isinstance(self.text, str):
            raise InputError(f"a candidate's text must be a string, got {type(self.text).__name__}: {self.text!r:.80}")
        if self.prompt_text is not None and not isinstance(self.prompt_text, str):
            raise InputError(f"prompt_text must be a string or None, got {type(self.prompt_text).__name__}")
        rank = _number("rank", self.rank)
        if rank is not None and (rank < 1 or rank != int(rank)):
            raise InputError(f"a first-stage rank must be a whole number from 1, got {self.rank!r}")
        if not isinstance(self.signals, Mapping):
            raise InputError(f"signals must map names to numbers, got {type(self.signals).__name__}")
        set_ = object.__setattr__
        set_(self, "score", _number("score", self.score))
        set_(self, "rank", None if rank is None else int(rank))
        signals = {name: _number(f"signal {name!r}", value) for name, value in self.signals.items()}
        set_(self, "signals", {name: value for name, value in signals.items() if value is not None})

    @property
    def reading(self) -> str:
        """What the LLM will read."""
        return self.text if self.prompt_text is None else self.prompt_text


def as_candidates(items: Iterable["str | Candidate"]) -> tuple[Candidate, ...]:
    """Turn texts into candidates and leave candidates as they are.

    :raises InputError: If an item is neither, naming its position.
    """
    if isinstance(items, str) or not isinstance(items, Iterable):
        raise InputError(f"candidates must be a list of texts or Candidates, got {type(items).__name__}: {items!r:.80}")
    return tuple(_as_candidate(position, item) for position, item in enumerate(items))


def first_stage_ranks(candidates: Sequence[Candidate]) -> list[int]:
    """Return each candidate's first-stage rank, counted from 1, without gaps or ties.

    Given ranks count where every candidate has one; else the input order does. Ties go to whoever came first.
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


def _number(name: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # anything with __float__, numpy's scalars among them
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a candidate's {name} must be a number or None, got {value!r:.80}") from error
    return number if math.isfinite(number) else None
