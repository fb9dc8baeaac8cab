"""The pipeline: candidates, scoring, fusion, selection, ranking."""

import asyncio
import inspect
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from secondpass.call import Call, check_deadline
from secondpass.candidates import Candidate, as_candidates, first_stage_ranks
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.fusion import Fusion, FusionInput
from secondpass.models import DEFAULT_MODEL
from secondpass.ranking import Cause, Degraded, Ranked, Ranking
from secondpass.scores import Pair, ScaleKind, Score, Scored, Spec, Stage, Unscored, UnscoredReason
from secondpass.scoring.load import load_scorer
from secondpass.scoring.scorer import Scorer
from secondpass.scoring.windows import Windowed
from secondpass.selection.adaptive import CoveredMass
from secondpass.selection.earlier import Results, as_earlier
from secondpass.selection.select import Selection, select

Observer = Callable[[Ranking], None]
OnError = Literal["degrade", "raise"]

logger = logging.getLogger("secondpass")

_EMPTY = Unscored(UnscoredReason.INVALID, "the text is empty")
_CAUSES = {
    UnscoredReason.DEADLINE: Cause.DEADLINE,
    UnscoredReason.CANCELLED: Cause.CANCELLED,
    UnscoredReason.FAILED: Cause.SCORER_FAILED,
}


@dataclass(frozen=True, slots=True)
class _Scoring:
    """One outcome for each candidate, the scorer's result, and why it is incomplete.

    :param outcomes: One for each candidate, in their order.
    :param scored: The scorer's result; None without one.
    :param stages: The stage ``score``.
    :param degraded: Why candidates have no score; None if all valid ones have.
    """

    outcomes: Sequence[Score | Unscored]
    scored: Scored | None = None
    stages: tuple[Stage, ...] = ()
    degraded: Degraded | None = None


class Reranker:
    """Scores candidates against the query, reorders them, and selects those that go into the LLM's context.

    Safe to share between threads. A deep copy shares the scorer.

    :param scorer: A bundled model's name, a hub id, a folder, or any ``Scorer``; ``load_scorer`` has more options.
    :param selection: How candidates are selected.
    :param fusion: How scores are combined with the first stage's; None orders by the scores alone.
    :param on_error: What happens when scoring fails: ``"degrade"`` returns the first stage's order, marked and
        logged; ``"raise"`` raises. Configuration errors always raise.
    :param deadline_ms: Milliseconds until scoring ends, with the scores that there are by then; None for no limit. The
        loading of a model before it and the selection after it are not counted.
    :param observers: Called with each ranking; an exception in one is logged and changes nothing.
    :raises ConfigurationError: If a setting is invalid, or a named model can't be loaded.
    """

    def __init__(
        self,
        scorer: str | Path | Scorer = DEFAULT_MODEL,
        *,
        selection: Selection | None = None,
        fusion: Fusion | None = None,
        on_error: OnError = "degrade",
        deadline_ms: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if on_error not in ("degrade", "raise"):
            raise ConfigurationError(f"on_error must be 'degrade' or 'raise', got {on_error!r}")
        check_deadline(deadline_ms)
        if fusion is not None and not hasattr(fusion, "fuse"):
            raise ConfigurationError(f"fusion must be a Fusion, such as ReciprocalRank(), or None, got {fusion!r:.80}")
        if not (isinstance(observers, Sequence) and all(map(_is_observer, observers))):
            raise ConfigurationError(
                f"observers must be a list of functions of a Ranking, not async, got {observers!r:.80}"
            )
        self.scorer = load_scorer(scorer) if isinstance(scorer, str | Path) else _checked(scorer)
        self.selection = _checked_selection(selection or Selection())
        self.fusion = fusion
        self.on_error = on_error
        self.deadline_ms = deadline_ms
        self.observers = tuple(observers)
        self._executor: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Reranker":
        """Return a reranker with the same settings and the same scorer."""
        return Reranker(
            self.scorer,
            selection=self.selection,
            fusion=self.fusion,
            on_error=self.on_error,
            deadline_ms=self.deadline_ms,
            observers=self.observers,
        )

    def rerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        exclude: Results = (),
        previous: Results = (),
    ) -> Ranking:
        """Return every candidate, kept or dropped with a reason.

        :param query: The query.
        :param candidates: Texts or candidates, in the first stage's order where they have no ranks.
        :param selection: Replaces the reranker's selection for this call.
        :param call: Deadline and cancellation; None creates one with the reranker's ``deadline_ms``.
        :param exclude: Earlier results that are not to be kept again: a ranking, candidates, or ids.
        :param previous: The results of the previous prompt, in reading order, for ``order="stable"``.
        :raises InputError: If the query or a candidate has the wrong type.
        :raises ScoringError: If scoring failed and ``on_error`` is ``"raise"``.
        :raises ConfigurationError: If the selection has a minimum probability and the scorer's scale has none.
        """
        if not isinstance(query, str):
            raise InputError(f"the query must be a string, got {type(query).__name__}: {query!r:.80}")
        candidates = as_candidates(candidates)
        selection, earlier = _checked_selection(selection or self.selection), as_earlier(exclude, previous)
        _check_threshold(selection, self.scorer.spec)
        scoring = self._score(query, candidates, scorer_for(selection, self.scorer), call or Call(self.deadline_ms))
        ranked, fuse_stage = self._rank(candidates, scoring)
        started = time.perf_counter()
        selected = select(ranked, selection, earlier)
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
        self._notify(ranking)
        return ranking

    async def arerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        exclude: Results = (),
        previous: Results = (),
    ) -> Ranking:
        """Return what ``rerank`` returns, from a thread of the reranker's own.

        When the task is cancelled, the call is: scoring stops after the batch in progress.
        """
        if self._executor is None or self._process != os.getpid():  # threads aren't copied by a fork
            self._executor, self._process = ThreadPoolExecutor(thread_name_prefix="secondpass-rerank"), os.getpid()
        call = call or Call(self.deadline_ms)
        work = partial(
            self.rerank, query, candidates, selection=selection, call=call, exclude=exclude, previous=previous
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, work)
        except asyncio.CancelledError:
            call.cancel()
            raise

    def _score(self, query: str, candidates: Sequence[Candidate], scorer: Scorer, call: Call) -> _Scoring:
        """Score the candidates that have a text; after a failure all of them are unscored."""
        valid = [position for position, candidate in enumerate(candidates) if candidate.text.strip()]
        outcomes: list[Score | Unscored] = [_EMPTY] * len(candidates)
        for position in valid:
            outcomes[position] = Unscored(UnscoredReason.FAILED)
        if not valid:
            return _Scoring(outcomes)
        if not query.strip():
            return self._without_query(outcomes)
        started = time.perf_counter()
        try:
            scored = _without_nan(scorer.score_pairs([Pair(query, candidates[p].text) for p in valid], call=call))
            _check_complete(scored, len(valid))
        except (ScoringError, OSError) as error:  # OSError: the network's and the disk's, of a scorer of one's own
            if self.on_error == "raise":
                raise
            stage = Stage("score", time.perf_counter() - started, {"error": str(error)})
            return _Scoring(outcomes, None, (stage,), _failed(error, self.scorer.spec.name))
        for position, outcome in zip(valid, scored.outcomes, strict=True):
            outcomes[position] = outcome
        stages = scored.stages or (Stage("score", time.perf_counter() - started, {"pairs": len(valid)}),)
        degraded = _incomplete(scored.outcomes)
        if self.on_error == "raise" and degraded and degraded.cause is Cause.SCORER_FAILED:
            raise ScoringError(f"{scored.by.name} failed: {degraded.detail}")
        return _Scoring(outcomes, scored, _with_overrun(stages, call), degraded)

    def _without_query(self, outcomes: Sequence[Score | Unscored]) -> _Scoring:
        detail = "the query must not be empty"
        if self.on_error == "raise":
            raise InputError(detail)
        _log_degraded(Cause.EMPTY_QUERY, detail)
        return _Scoring(outcomes, degraded=Degraded(Cause.EMPTY_QUERY, detail))

    def _rank(self, candidates: Sequence[Candidate], scoring: _Scoring) -> tuple[list[Ranked], tuple[Stage, ...]]:
        """Order candidates by fused or raw value, ties by first-stage rank; the unscored follow the scored."""
        ranks = first_stage_ranks(candidates)
        started = time.perf_counter()
        fused = self._fuse(candidates, scoring.outcomes, ranks)
        scale = scoring.scored.by.scale if scoring.scored else None
        ranked = [
            Ranked(
                candidate,
                index,
                outcome,
                scale.probability(outcome.value) if scale and isinstance(outcome, Score) else None,
                fused.get(index),
                ranks[index],
            )
            for index, (candidate, outcome) in enumerate(zip(candidates, scoring.outcomes, strict=True))
        ]
        ranked.sort(key=_sort_key)
        if self.fusion is None:
            return ranked, ()
        return ranked, (Stage("fuse", time.perf_counter() - started, {"rule": repr(self.fusion)}),)

    def _fuse(
        self, candidates: Sequence[Candidate], outcomes: Sequence[Score | Unscored], ranks: Sequence[int]
    ) -> dict[int, float]:
        scores = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Score)}
        if self.fusion is None or not scores:
            return {}
        signals = {signal for candidate in candidates for signal in candidate.signals}
        inputs = [FusionInput(candidates[p], outcome.value, ranks[p]) for p, outcome in scores.items()]
        return dict(zip(scores, self.fusion.fuse(inputs, signals), strict=True))

    def _notify(self, ranking: Ranking) -> None:
        for observer in self.observers:
            try:
                observer(ranking)
            except Exception:
                logger.exception("an observer of the reranker failed; the ranking is returned unchanged")


def _checked(scorer: Scorer) -> Scorer:
    if not isinstance(scorer, Scorer) or isinstance(scorer, type):
        raise ConfigurationError(
            f"scorer must be a model's name, a folder, or an object with spec and score_pairs, got {scorer!r:.80}"
        )
    return scorer


def _checked_selection(selection: Selection) -> Selection:
    if not isinstance(selection, Selection):
        raise ConfigurationError(f"selection must be a Selection, such as Selection(top_k=3), got {selection!r:.80}")
    return selection


def _is_observer(observer: object) -> bool:
    return callable(observer) and not inspect.iscoroutinefunction(observer)


def _check_threshold(selection: Selection, spec: Spec) -> None:
    needs = {
        "min_probability": selection.min_probability is not None,
        "CoveredMass": isinstance(selection.adaptive, CoveredMass),
    }
    for name, needed in needs.items():
        if needed and spec.scale.kind is ScaleKind.UNKNOWN:
            raise ConfigurationError(
                f"{name} needs scores on a known scale, and that of {spec.name} is unknown: use top_k or a budget, or "
                "give the scorer a scale"
            )


def scorer_for(selection: Selection, scorer: Scorer) -> Scorer:
    """Return the scorer that a selection needs: with the policy ``"extract"`` one that scores small windows."""
    if selection.policy != "extract":
        return scorer
    return (scorer if isinstance(scorer, Windowed) else Windowed(scorer)).for_extraction()


def _sort_key(item: Ranked) -> tuple[bool, float, int]:
    value = item.fused if item.fused is not None else item.score
    return value is None, -(value or 0.0), item.rank_before


def _without_nan(scored: Scored) -> Scored:
    """Replace scores that are NaN or infinite by ``Unscored``, and numbers of other libraries by Python's.

    :raises ConfigurationError: If the scorer didn't return a ``Scored``.
    """
    if not isinstance(scored, Scored) or not all(isinstance(item, Score | Unscored) for item in scored.outcomes):
        raise ConfigurationError(
            f"score_pairs must return Scored(outcomes, spec) with a Score or Unscored for each pair, got {scored!r:.80}"
        )
    return replace(scored, outcomes=tuple(map(_finite, scored.outcomes)))


def _finite(outcome: Score | Unscored) -> Score | Unscored:
    if isinstance(outcome, Unscored):
        return outcome
    value = float(outcome.value)
    if math.isfinite(value):
        return replace(outcome, value=value)
    return Unscored(UnscoredReason.INVALID, f"the scorer gave {value}")


def _check_complete(scored: Scored, pairs: int) -> None:
    """Check that there is an outcome for each pair, and a finite score among them.

    :raises ScoringError: Otherwise.
    """
    if len(scored.outcomes) != pairs:
        raise ScoringError(f"{scored.by.name} was given {pairs} pairs and returned {len(scored.outcomes)} outcomes")
    reasons = {item.reason for item in scored.outcomes if isinstance(item, Unscored)}
    if UnscoredReason.INVALID in reasons and all(isinstance(item, Unscored) for item in scored.outcomes):
        raise ScoringError(f"{scored.by.name} gave no finite score for any of {pairs} candidates")


def _incomplete(outcomes: Sequence[Score | Unscored]) -> Degraded | None:
    """Return the mark of a ranking in which candidates have no score because of a deadline or a failure."""
    for reason, cause in _CAUSES.items():
        missing = sum(isinstance(outcome, Unscored) and outcome.reason is reason for outcome in outcomes)
        if missing:
            detail = f"{missing} of {len(outcomes)} candidates without a score, in first-stage order"
            _log_degraded(cause, detail)
            return Degraded(cause, detail)
    return None


def _failed(error: Exception, scorer: str) -> Degraded:
    cause = f" from {type(error.__cause__).__name__}" if error.__cause__ else ""
    _log_degraded(Cause.SCORER_FAILED, f"{type(error).__name__}{cause} in {scorer}")
    return Degraded(Cause.SCORER_FAILED, str(error))


def _with_overrun(stages: tuple[Stage, ...], call: Call) -> tuple[Stage, ...]:
    """Note in the last stage by how much a deadline was missed, as by a scorer that doesn't look at the call."""
    late = 0.0 if call.deadline is None else 1000 * (time.monotonic() - call.deadline)
    if late <= 0:
        return stages
    facts = {**stages[-1].facts, "deadline_overrun_ms": round(late, 1)}
    return (*stages[:-1], replace(stages[-1], facts=facts))


def _log_degraded(cause: Cause, detail: str) -> None:
    """Log a degraded pass; the detail never holds texts."""
    logger.warning("reranking is degraded: %s (%s)", cause, detail)
