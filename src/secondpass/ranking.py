"""The result of a second pass: every candidate, kept or dropped with a reason, and what each stage did."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondpass.errors import checked
from secondpass.logs import REPEATED_WARNINGS
from secondpass.records import Candidate, Note, NoteKind, Score, Spec, Stage, Unscored, UnscoredReason, Window

if TYPE_CHECKING:
    from pandas import DataFrame

FAR = 10
"""Below this rank the first stage's best candidate has fallen far, and a note says so."""


class Reason(StrEnum):
    """Why a candidate was dropped."""

    BELOW_THRESHOLD = "below threshold"
    EXCLUDED = "excluded"
    DUPLICATE = "duplicate"
    DIVERSITY = "diversity"
    OVER_TOP_N = "over top-n"
    OVER_BUDGET = "over budget"
    OVER_SOURCE_LIMIT = "over source limit"
    PRUNED = "pruned"
    INVALID = "invalid"


class Cause(StrEnum):
    """Why a ranking is degraded."""

    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    SCORER_FAILED = "scorer failed"
    EMPTY_QUERY = "empty query"
    LOADING = "model still loading"


@dataclass(frozen=True, slots=True)
class Degraded:
    """The mark of a ranking that is in first-stage order, in part or as a whole.

    :param cause: Why.
    :param detail: The cause in words.
    """

    cause: Cause
    detail: str

    def __str__(self) -> str:
        """Return cause and detail in one line."""
        return f"{self.cause}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its scores and first-stage rank; the common fields of ``Kept`` and ``Dropped``.

    :param candidate: The caller's candidate, unchanged.
    :param index: Its position in the input, counted from 0.
    :param outcome: The scorer's outcome.
    :param probability: The raw score as a probability; None without a score, or on a scale that has none.
    :param fused: The fused value that decided the order; None without fusion. It has a scale of its own.
    :param rank_before: Its first-stage rank, counted from 1.
    """

    candidate: Candidate
    index: int
    outcome: Score | Unscored
    probability: float | None
    fused: float | None
    rank_before: int

    def common(self) -> tuple[Candidate, int, Score | Unscored, float | None, float | None, int]:
        """Return the fields that ``Kept`` and ``Dropped`` share, in their order."""
        return (self.candidate, self.index, self.outcome, self.probability, self.fused, self.rank_before)

    @property
    def score(self) -> float | None:
        """The raw score, or None without one."""
        return self.outcome.value if isinstance(self.outcome, Score) else None

    @property
    def value(self) -> float | None:
        """The value that decides the order: the fused one, else the raw score; None without both."""
        return self.score if self.fused is None else self.fused

    @property
    def pruned(self) -> bool:
        """Whether a cascade's cheaper scorer ruled it out."""
        return isinstance(self.outcome, Unscored) and self.outcome.reason is UnscoredReason.PRUNED

    @property
    def truncated(self) -> int:
        """How many tokens of query and text no model read."""
        return self.outcome.truncated if isinstance(self.outcome, Score) else 0

    @property
    def best_window(self) -> Window | None:
        """The window of the candidate's text with the highest score; None where it was scored as a whole."""
        windows = self.outcome.windows if isinstance(self.outcome, Score) else ()
        return self.outcome.best_window if isinstance(self.outcome, Score) and len(windows) > 1 else None

    @property
    def best_text(self) -> str:
        """The text of the best window, for display; of a candidate that was scored as a whole, its text."""
        window = self.best_window
        return self.candidate.text[window.start : window.end].strip() if window else self.candidate.text


@dataclass(frozen=True, slots=True)
class Kept(Ranked):
    """A candidate that goes into the context.

    :param text: Its text in the context.
    :param spans: The character ranges of the candidate's prompt text that ``text`` consists of, in rising order. Of
        several, the first is the candidate's header where it has one; between others stands `` [...] ``.
    :param rank: Its rank by relevance among the kept, counted from 1.
    :param tokens: Its tokens, template included, as the budget's counter counts them; None without a budget.
    :param cut: How many of its tokens were left out to fit the budget; 0 where it is whole.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    rank: int
    tokens: int | None
    cut: int = 0

    @property
    def extracted(self) -> bool:
        """Whether the text isn't simply the candidate's beginning."""
        return len(self.spans) != 1 or self.spans[0] != (0, len(self.text))

    @property
    def body_spans(self) -> list[tuple[int, int]]:
        """The spans without the candidate's header, counted from where that ends."""
        header = self.candidate.header_length
        return [(max(0, start - header), end - header) for start, end in self.spans if end > header]


@dataclass(frozen=True, slots=True)
class Dropped(Ranked):
    """A candidate that does not go into the context.

    :param reason: Why it was dropped.
    :param because_of: The kept candidate that it duplicates or is similar to, or the earlier one that excludes it;
        None for other reasons.
    :param detail: The figures behind the reason, in words.
    """

    reason: Reason
    because_of: Candidate | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of a second pass.

    :param query: The query.
    :param kept: The kept candidates, in reading order.
    :param dropped: All other candidates, best first.
    :param context: The kept texts, joined as the LLM will read them.
    :param tokens: The tokens of ``context`` as the budget's counter counts them; None without a budget.
    :param stages: What each stage did, and how long it took.
    :param by: The specification of the scorer; None where nothing was scored.
    :param degraded: Why the order is the first stage's, in part or as a whole; None otherwise.
    :param answerable: The probability that what is kept holds the answer, as fitted on labelled questions; None where
        the scorer has no such record, or a kept candidate has no score.
    :param notes: Why the context may be wrong, although nothing failed.
    """

    query: str
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    context: str
    tokens: int | None
    stages: tuple[Stage, ...]
    by: Spec | None = None
    degraded: Degraded | None = None
    answerable: float | None = None
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        """Return the number of kept candidates."""
        return len(self.kept)

    def __iter__(self) -> Iterator[Kept]:
        """Iterate over the kept candidates, in reading order."""
        return iter(self.kept)

    def __getitem__(self, position: int) -> Kept:
        """Return the kept candidate at this position of the reading order."""
        return self.kept[position]

    @property
    def nothing_relevant(self) -> bool:
        """Whether nothing is kept although there was space: no candidate is relevant, or none is new."""
        return nothing_relevant(self.kept, self.dropped)

    @property
    def rank_of_top_hit(self) -> int | None:
        """The rank, by score or fused value, of the first stage's best candidate; None where it has no score.

        One that a cascade pruned is below all that were scored. Where this is often a high number, the two stages
        disagree: measure which of them is right (``evaluate``).
        """
        best = self._top_hit
        values = [value for item in self.everything if (value := item.value) is not None]
        if best is None or not values or (best.value is None and not best.pruned):
            return None
        own = -math.inf if best.value is None else best.value
        return 1 + sum(value > own for value in values)

    @property
    def _top_hit(self) -> Ranked | None:
        """The first stage's best candidate; None without candidates."""
        return next((item for item in self.everything if item.rank_before == 1), None)

    @property
    def everything(self) -> tuple[Ranked, ...]:
        """All candidates: the kept in reading order, then the dropped."""
        return (*self.kept, *self.dropped)

    def report(self) -> str:
        """Return a plain-text table of kept and dropped candidates, and the time of each stage."""
        from secondpass.report.text import as_text  # reports import this module

        return as_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``, without payloads."""
        from secondpass.report.data import as_dict  # as above

        return as_dict(self)

    @checked
    def to_json(self, indent: int | None = None) -> str:
        """Return ``to_dict`` as JSON, in ASCII characters.

        :param indent: Spaces of each level; None for one line.
        """
        return json.dumps(self.to_dict(), indent=indent)

    def to_frame(self) -> "DataFrame":
        """Return a pandas data frame with a row for each candidate: the kept in reading order, then the dropped.

        :raises MissingExtra: If pandas isn't installed.
        """
        from secondpass.report.data import as_frame  # as above

        return as_frame(self)

    @checked
    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as a complete HTML document without scripts and external files, and write it.

        Long texts and long lists are cut; what is left out is counted.

        :param path: The file, which is replaced only when all is written; None writes none.
        :raises ConfigurationError: If the path is no file's.
        :raises OSError: If the file can't be written.
        """
        from secondpass.report.html import as_document, write  # as above

        document = as_document(self)
        if path is not None:
            write(document, path)
        return document

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it."""
        from secondpass.report.html import as_html  # as above

        return as_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001  # IPython's interface
        """Print the report in IPython, which also keeps it beside a notebook's HTML; long lists are cut."""
        from secondpass.report.text import LISTED, as_text  # as above

        printer.text(as_text(self, LISTED))

    def __rich__(self) -> object:
        """Return the report as rich prints it, as wide as the terminal."""
        from secondpass.report.terminal import RankingView  # as above; rich is there when this is called

        return RankingView(self)


def nothing_relevant(kept: Sequence[Kept], dropped: Sequence[Dropped]) -> bool:
    """Return whether nothing is kept although there was space for it."""
    no_space = (Reason.OVER_TOP_N, Reason.OVER_BUDGET)
    return not kept and not any(item.reason in no_space for item in dropped)


UNLIKELY = 0.05
"""Where no candidate is above this probability, a note says so."""
FUSION_LEFT_OUT = Note(
    NoteKind.FUSION_LEFT_OUT, "the fusion rule was left out: it was fitted on another model than the one that answered"
)
_COMMON = (NoteKind.BEST_FELL, NoteKind.UNLIKELY)  # ordinary results of a second pass: logged as information


def noted(ranking: Ranking) -> Ranking:
    """Return the ranking with the notes that are about all of it, and log its notes: each kind once in a while."""
    own = (_best_fell(ranking), _unlikely(ranking))
    ranking = replace(ranking, notes=(*ranking.notes, *(note for note in own if note)))
    for note in ranking.notes:
        by = ranking.by.name if ranking.by else "no scorer"
        level = logging.INFO if note.kind in _COMMON else logging.WARNING
        REPEATED_WARNINGS.warn((note.kind, by), "the context may be wrong: %s (%s)", note, by, level=level)
    return ranking


def _best_fell(ranking: Ranking) -> Note | None:
    """Return a note where the first stage's best candidate fell far, or was pruned."""
    rank, best = ranking.rank_of_top_hit, ranking._top_hit  # noqa: SLF001  of this module
    pruned = best is not None and best.pruned
    if rank is None or (rank <= FAR and not pruned):
        return None
    below = f", below the {rank - 1} that were scored: it was pruned" if pruned else ""
    return Note(NoteKind.BEST_FELL, f"the first stage's best fell to rank {rank}{below}")


def _unlikely(ranking: Ranking) -> Note | None:
    """Return a note where the most probable of the scored candidates is improbable."""
    highest = max((item.probability for item in ranking.everything if item.probability is not None), default=None)
    if highest is None or highest > UNLIKELY:
        return None
    return Note(NoteKind.UNLIKELY, f"no candidate is above a probability of {UNLIKELY}: the best is at {highest:.3f}")
