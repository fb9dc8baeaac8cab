"""Scoring of queries with their candidates: what can be scored, failures, and incomplete results."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from secondpass.errors import InputError, ScoringError
from secondpass.logs import REPEATED_WARNINGS
from secondpass.ranking import Cause, Degraded
from secondpass.records import (
    Call,
    Candidate,
    Note,
    NoteKind,
    Pair,
    Score,
    Scored,
    Spec,
    Stage,
    Unscored,
    UnscoredReason,
    first_stage_ranks,
)
from secondpass.scoring.scorer import Scorer, gave_no_value, has_score, score_checked

OnError = Literal["degrade", "raise"]

_EMPTY = Unscored(UnscoredReason.EMPTY, "there is nothing to score")
_INVALID = Unscored(UnscoredReason.INVALID, "the text is empty")
_FAILED = Unscored(UnscoredReason.FAILED)
_CAUSES = {
    UnscoredReason.DEADLINE: Cause.DEADLINE,
    UnscoredReason.CANCELLED: Cause.CANCELLED,
    UnscoredReason.FAILED: Cause.SCORER_FAILED,
    UnscoredReason.LOADING: Cause.LOADING,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A query with its candidates.

    :param query: The query.
    :param candidates: The candidates.
    :param ranks: Their first-stage ranks, counted from 1.
    """

    query: str
    candidates: tuple[Candidate, ...]
    ranks: Sequence[int]

    @classmethod
    def of(cls, query: object, candidates: tuple[Candidate, ...]) -> "Request":
        """Return the request for a query.

        :raises InputError: If the query isn't a string.
        """
        if not isinstance(query, str):
            raise InputError(f"the query must be a string, got {type(query).__name__}: {query!r:.80}")
        return cls(query, candidates, first_stage_ranks(candidates))

    def positions(self) -> list[int]:
        """Return the positions of the candidates that have a text to score, by first-stage rank."""
        valid = [position for position, candidate in enumerate(self.candidates) if candidate.text.strip()]
        return sorted(valid, key=self.ranks.__getitem__)

    def unscored(self) -> list[Score | Unscored]:
        """Return the outcomes of the candidates that have no text to score; those of the others are to be replaced."""
        return [_EMPTY if item.media or item.reading.strip() else _INVALID for item in self.candidates]


@dataclass(frozen=True, slots=True)
class Scoring:
    """One outcome for each candidate of a request, and why the outcomes are incomplete.

    :param outcomes: One for each candidate, in their order.
    :param by: The specification of the scorer; None where nothing was scored.
    :param stages: The stages named ``score``.
    :param degraded: Why candidates have no score; None if all valid ones have, or were left out on purpose.
    :param notes: Why the outcomes may mislead.
    """

    outcomes: Sequence[Score | Unscored]
    by: Spec | None = None
    stages: tuple[Stage, ...] = ()
    degraded: Degraded | None = None
    notes: tuple[Note, ...] = ()


def score_requests(scorer: Scorer, requests: Sequence[Request], call: Call, on_error: OnError) -> list[Scoring]:
    """Score the candidates of several requests in one call of the scorer; after a failure all are unscored.

    The pairs of each request are in first-stage order.

    :raises ScoringError: If scoring failed, and ``on_error`` is ``"raise"``.
    :raises InputError: If a query is empty, and ``on_error`` is ``"raise"``.
    """
    positions = [request.positions() if request.query.strip() else [] for request in requests]
    pairs = [
        Pair(request.query, request.candidates[position].text, request.candidates[position].text_header)
        for request, valid in zip(requests, positions, strict=True)
        for position in valid
    ]
    started = time.perf_counter()
    try:
        scored = score_checked(scorer, pairs, call) if pairs else Scored((), scorer.spec)
    except (ScoringError, OSError) as error:  # OSError: the network's and the disk's, of a scorer of one's own
        if on_error == "raise":
            raise
        failed = _failed(error, scorer.spec.name)
        stage = Stage("score", time.perf_counter() - started, {"error": str(error)})
        return [_unscored(request, scorer.spec.name, on_error, (stage,), failed) for request in requests]
    stages = scored.stages or (Stage("score", time.perf_counter() - started, {"pairs": len(pairs)}),)
    stages = _with_overrun(stages, call) if pairs else stages
    notes = tuple(_shared(note, len(requests)) for note in scored.notes)
    scorings: list[Scoring] = []
    start = 0
    for request, valid in zip(requests, positions, strict=True):
        own = stages if len(requests) == 1 else tuple(_share(s, len(valid), len(pairs), len(requests)) for s in stages)
        part = replace(scored, outcomes=scored.outcomes[start : start + len(valid)], stages=own, notes=notes)
        scorings.append(_scoring(request, valid, part, scorer.spec.name, on_error))
        start += len(valid)
    return scorings


def _scoring(request: Request, valid: Sequence[int], scored: Scored, scorer: str, on_error: OnError) -> Scoring:
    """Return one request's scoring.

    :param valid: The positions of the candidates that were scored, in the order of the outcomes.
    :raises ScoringError: If the scorer failed, and ``on_error`` is ``"raise"``.
    """
    if not valid:
        return _unscored(request, scorer, on_error)
    degraded = _incomplete(scored.outcomes, scorer)
    if degraded is None and gave_no_value(scored.outcomes):
        error = ScoringError(f"{scored.by.name} gave no finite score for any of {len(valid)} candidates")
        if on_error == "raise":
            raise error
        last = replace(scored.stages[-1], facts={**scored.stages[-1].facts, "error": str(error)})
        return _unscored(request, scorer, on_error, (*scored.stages[:-1], last), _failed(error, scorer))
    in_order = request.unscored()
    for position, outcome in zip(valid, scored.outcomes, strict=True):
        in_order[position] = outcome
    if on_error == "raise" and degraded and degraded.cause is Cause.SCORER_FAILED:
        raise ScoringError(f"{scored.by.name} failed: {degraded.detail}")
    notes = (*scored.notes, *_left_out(scored.outcomes, degraded))
    return Scoring(in_order, scored.by, scored.stages, degraded, notes)


def _left_out(outcomes: Sequence[Score | Unscored], degraded: Degraded | None) -> list[Note]:
    """Return a note where the scorer gave no score to some texts, which the ranking's mark doesn't say already.

    Other reasons are the call's, the caller's, or noted by the scorer that finds them.
    """
    reasons = {UnscoredReason.INVALID, UnscoredReason.FAILED}
    if degraded and degraded.cause is Cause.SCORER_FAILED:
        reasons.remove(UnscoredReason.FAILED)
    counts = Counter(item.reason for item in outcomes if isinstance(item, Unscored) and item.reason in reasons)
    if not counts or not has_score(outcomes):
        return []
    named = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return [Note(NoteKind.LEFT_OUT, f"{counts.total()} of {len(outcomes)} texts have no score: {named}")]


def _log_degraded(cause: Cause, scorer: str, detail: str) -> None:
    """Log a degraded pass; the detail never holds texts."""
    REPEATED_WARNINGS.warn((cause, scorer), "reranking by %s is degraded: %s (%s)", scorer, cause, detail)


def _unscored(
    request: Request, scorer: str, on_error: OnError, stages: tuple[Stage, ...] = (), degraded: Degraded | None = None
) -> Scoring:
    """Return the outcomes of a request in which nothing is scored.

    :raises InputError: If that is because of an empty query, and ``on_error`` is ``"raise"``.
    """
    valid = request.positions()
    outcomes = request.unscored()
    for position in valid:
        outcomes[position] = _FAILED
    if not valid or request.query.strip():
        return Scoring(outcomes, stages=stages if valid else (), degraded=degraded if valid else None)
    detail = "the query must not be empty"
    if on_error == "raise":
        raise InputError(detail)
    _log_degraded(Cause.EMPTY_QUERY, scorer, detail)
    return Scoring(outcomes, degraded=Degraded(Cause.EMPTY_QUERY, detail))


def _share(stage: Stage, pairs: int, of: int, queries: int) -> Stage:
    """Return one request's share of a stage's time; the facts are those of all requests together."""
    return replace(stage, seconds=stage.seconds * pairs / max(1, of), facts={**stage.facts, "queries": queries})


def _shared(note: Note, queries: int) -> Note:
    """Return a call's note for each of its requests; a scorer doesn't say which of several it is about."""
    return note if queries == 1 else replace(note, text=f"{note.text} (of {queries} queries scored together)")


def _failed(error: Exception, scorer: str) -> Degraded:
    cause = f" from {type(error.__cause__).__name__}" if error.__cause__ else ""
    _log_degraded(Cause.SCORER_FAILED, scorer, f"{type(error).__name__}{cause}")
    return Degraded(Cause.SCORER_FAILED, str(error))


def _with_overrun(stages: tuple[Stage, ...], call: Call) -> tuple[Stage, ...]:
    """Note in the last stage by how much a deadline was missed, as by a scorer that doesn't look at the call."""
    late = 0.0 if call.deadline is None else 1000 * (time.monotonic() - call.deadline)
    if late <= 0:
        return stages
    facts = {**stages[-1].facts, "deadline_overrun_ms": round(late, 1)}
    return (*stages[:-1], replace(stages[-1], facts=facts))


def _incomplete(outcomes: Sequence[Score | Unscored], scorer: str) -> Degraded | None:
    """Return the mark of a ranking in which candidates have no score because of a deadline or a failure."""
    for reason, cause in _CAUSES.items():
        missing = [item for item in outcomes if isinstance(item, Unscored) and item.reason is reason]
        if missing:
            order = (
                "first-stage order"
                if all(item.fallback_rank is None for item in missing)
                else "a cheaper scorer's order"
            )
            detail = f"{len(missing)} of {len(outcomes)} candidates without a score, in {order}"
            _log_degraded(cause, scorer, detail)
            return Degraded(cause, detail)
    return None
