"""The road: candidates in, scores, fusion, selection, ranking out."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from secondpass.candidates import Candidate, as_candidates, first_stage_ranks
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.fusion import Fusion, FusionInput
from secondpass.ranking import Cause, Degraded, Judged, Ranking
from secondpass.scores import Call, Pair, Score, Scored, Stage, Unscored, UnscoredReason
from secondpass.scoring.protocol import Scorer
from secondpass.selection.select import Selection, select

Observer = Callable[[Ranking], None]
OnError = Literal["degrade", "raise"]

_EMPTY = Unscored(UnscoredReason.INVALID, "the text is empty")
_OVER = {UnscoredReason.DEADLINE: Cause.DEADLINE, UnscoredReason.CANCELLED: Cause.CANCELLED}


@dataclass(frozen=True, slots=True)
class _Scoring:
    """One outcome for each candidate, what the scorer told, and what went wrong."""

    outcomes: Sequence[Score | Unscored]
    scored: Scored | None
    stages: tuple[Stage, ...]
    degraded: Degraded | None


class Reranker:
    """Reads candidates together with the question, reorders them, and keeps what is worth the reader's context.

    :param scorer: What scores a pair; ``load_scorer`` makes one.
    :param selection: How the kept are chosen.
    :param fusion: How the model's scores are combined with the first stage's; None orders by the model alone.
    :param on_error: What a failure while scoring does: ``"degrade"`` gives the first stage's order, marked;
        ``"raise"`` raises it. Mistakes in the configuration always raise.
    :param deadline_ms: Milliseconds that a call may take; None for no limit. It is looked at between batches.
    :param observers: Called with each finished ranking.
    :raises ConfigurationError: If a setting is out of its range.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        selection: Selection | None = None,
        fusion: Fusion | None = None,
        on_error: OnError = "degrade",
        deadline_ms: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if not hasattr(scorer, "score_pairs"):
            raise ConfigurationError(f"scorer must be a Scorer, such as load_scorer(...) gives; got {scorer!r:.80}")
        if on_error not in ("degrade", "raise"):
            raise ConfigurationError(f"on_error must be 'degrade' or 'raise', got {on_error!r}")
        if deadline_ms is not None and (math.isnan(deadline_ms) or deadline_ms < 0):
            raise ConfigurationError(f"deadline_ms must be 0 or more, or None for no limit, got {deadline_ms!r}")
        self.scorer = scorer
        self.selection = selection or Selection()
        self.fusion = fusion
        self.on_error = on_error
        self.deadline_ms = deadline_ms
        self.observers = tuple(observers)

    def rerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
    ) -> Ranking:
        """Return every candidate, kept or dropped with a reason.

        :param query: The question.
        :param candidates: Texts or candidates, in the first stage's order where they carry no ranks.
        :param selection: Takes the place of the reranker's own, for this call alone.
        :param call: The caller's patience; by default one with the reranker's ``deadline_ms``, from now.
        :raises InputError: If the query or a candidate isn't one.
        :raises ScoringError: If scoring failed and ``on_error`` is ``"raise"``.
        """
        if not isinstance(query, str):
            raise InputError(f"the query must be a string, got {type(query).__name__}: {query!r:.80}")
        candidates = as_candidates(candidates)
        call = call or Call(self.deadline_ms)
        scoring = self._score(query, candidates, call)
        judged, fuse_stage = self._judge(candidates, scoring)
        started = time.perf_counter()
        selected = select(judged, selection or self.selection)
        stages = (*scoring.stages, *fuse_stage, Stage("select", time.perf_counter() - started, selected.facts))
        ranking = Ranking(
            query,
            selected.kept,
            selected.dropped,
            selected.context,
            selected.tokens,
            stages,
            by=scoring.scored.by if scoring.scored else None,
            degraded=scoring.degraded,
        )
        for observe in self.observers:
            observe(ranking)
        return ranking

    def _score(self, query: str, candidates: Sequence[Candidate], call: Call) -> _Scoring:
        """Score what there is to read; a failure leaves everything unscored, and says so."""
        readable = [position for position, candidate in enumerate(candidates) if candidate.text.strip()]
        outcomes: list[Score | Unscored] = [_EMPTY] * len(candidates)
        for position in readable:
            outcomes[position] = Unscored(UnscoredReason.FAILED)
        if not readable:
            return _Scoring(outcomes, None, (), None)
        if not query.strip():
            return self._without_query(outcomes)
        started = time.perf_counter()
        try:
            scored = _believable(
                self.scorer.score_pairs([Pair(query, candidates[p].text) for p in readable], call=call)
            )
            _check_usable(scored, len(readable))
        except ScoringError as error:
            if self.on_error == "raise":
                raise
            stage = Stage("score", time.perf_counter() - started, {"error": str(error)})
            return _Scoring(outcomes, None, (stage,), Degraded(Cause.SCORER_FAILED, str(error)))
        for position, outcome in zip(readable, scored.outcomes, strict=True):
            outcomes[position] = outcome
        stages = scored.stages or (Stage("score", time.perf_counter() - started, {"pairs": len(readable)}),)
        return _Scoring(outcomes, scored, stages, _incomplete(scored.outcomes))

    def _without_query(self, outcomes: Sequence[Score | Unscored]) -> _Scoring:
        why = "the query is empty, and must hold a question to read the candidates for"
        if self.on_error == "raise":
            raise InputError(why)
        return _Scoring(outcomes, None, (), Degraded(Cause.EMPTY_QUERY, why))

    def _judge(self, candidates: Sequence[Candidate], scoring: _Scoring) -> tuple[list[Judged], tuple[Stage, ...]]:
        """Put candidates in order: by fused or raw value, ties by first-stage rank, the unscored after the scored."""
        ranks = first_stage_ranks(candidates)
        started = time.perf_counter()
        fused = self._fuse(candidates, scoring.outcomes, ranks)
        scale = scoring.scored.by.scale if scoring.scored else None
        judged = [
            Judged(
                candidate,
                outcome,
                scale.probability(outcome.value) if scale and isinstance(outcome, Score) else None,
                fused.get(position),
                ranks[position],
            )
            for position, (candidate, outcome) in enumerate(zip(candidates, scoring.outcomes, strict=True))
        ]
        judged.sort(key=_best_first)
        if self.fusion is None:
            return judged, ()
        return judged, (Stage("fuse", time.perf_counter() - started, {"rule": repr(self.fusion)}),)

    def _fuse(
        self, candidates: Sequence[Candidate], outcomes: Sequence[Score | Unscored], ranks: Sequence[int]
    ) -> dict[int, float]:
        scored = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Score)}
        if self.fusion is None or not scored:
            return {}
        known = {signal for candidate in candidates for signal in candidate.signals}
        inputs = [FusionInput(candidates[p], outcome.value, ranks[p]) for p, outcome in scored.items()]
        return dict(zip(scored, self.fusion.fuse(inputs, known), strict=True))


def _best_first(judged: Judged) -> tuple[bool, float, int]:
    value = judged.fused if judged.fused is not None else judged.score
    return value is None, -(value or 0.0), judged.rank_before


def _believable(scored: Scored) -> Scored:
    """Take no scorer's NaN or infinity for a score, whoever let it through."""
    outcomes = tuple(
        Unscored(UnscoredReason.INVALID, f"the scorer gave {outcome.value}")
        if isinstance(outcome, Score) and not math.isfinite(outcome.value)
        else outcome
        for outcome in scored.outcomes
    )
    return replace(scored, outcomes=outcomes)


def _check_usable(scored: Scored, pairs: int) -> None:
    """Refuse a scorer's answer that would lose candidates, or that holds no number at all."""
    if len(scored.outcomes) != pairs:
        raise ScoringError(f"{scored.by.name} was given {pairs} pairs and returned {len(scored.outcomes)} outcomes")
    if all(isinstance(item, Unscored) and item.reason is UnscoredReason.INVALID for item in scored.outcomes):
        raise ScoringError(f"{scored.by.name} gave no finite score for any of {pairs} candidates")


def _incomplete(outcomes: Sequence[Score | Unscored]) -> Degraded | None:
    """Say why some candidates went without a score, if any did for want of time or for a failure."""
    unscored = [outcome for outcome in outcomes if isinstance(outcome, Unscored)]
    for reason, cause in [*_OVER.items(), (UnscoredReason.FAILED, Cause.SCORER_FAILED)]:
        missing = sum(outcome.reason is reason for outcome in unscored)
        if missing:
            return Degraded(cause, f"{missing} of {len(outcomes)} candidates without a score, in first-stage order")
    return None
