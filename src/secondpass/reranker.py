"""The pipeline: candidates, scoring, fusion, selection, ranking."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from secondpass.call import Call, check_deadline
from secondpass.candidates import Candidate, as_candidates
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.fusion import Fusion, FusionInput
from secondpass.learned_fusion import LearnedFusion
from secondpass.models import DEFAULT_MODEL
from secondpass.observers import CallInfo, Observer, check_observers, notify, notify_failed
from secondpass.ranking import Ranked, Ranking
from secondpass.scores import Score, Spec, Stage, Unscored
from secondpass.scoring.closer import CloserReading
from secondpass.scoring.load import load_scorer
from secondpass.scoring.requests import OnError, Request, Scoring, score_requests
from secondpass.scoring.scorer import ListScorer, Scorer, as_scorer, warm_up
from secondpass.scoring.shared import LoadedInBackground, LoadKey, WhenCold
from secondpass.scoring.windows import Windowed, extract_tokens
from secondpass.selection.adaptive import CoveredMass
from secondpass.selection.filters import Results, as_excluded
from secondpass.selection.select import Selected, Selection, select
from secondpass.threads import CallThreads, LoadingThread


class Reranker:
    """Scores candidates against the query, reorders them, and selects those that go into the LLM's context.

    Safe to share between threads. A deep copy shares the scorer.

    :param scorer: A bundled model's name, a hub id, a folder, or any ``Scorer`` or ``ListScorer``; ``load_scorer`` has
        more options.
    :param selection: How candidates are selected.
    :param fusion: How scores are combined with the first stage's; None orders by the scores alone.
    :param on_error: What happens when scoring fails: ``"degrade"`` returns the first stage's order, marked and
        logged; ``"raise"`` raises. Configuration errors always raise.
    :param deadline_ms: Milliseconds until scoring ends, with the scores that there are by then; None for no limit. The
        loading of a model before it and the selection after it are not counted.
    :param observers: Called with each ranking; an exception in one is logged and changes nothing.
    :param when_cold: When a model given by name is loaded: ``"wait"`` loads it here; ``"degrade"`` begins to load it in
        the background, shared within the process, and until it is ``ready`` calls return the first stage's order,
        marked. One that can't be loaded then raises at the next call.
    :raises ConfigurationError: If a setting is invalid, or a named model can't be loaded.
    """

    def __init__(
        self,
        scorer: str | Path | Scorer | ListScorer = DEFAULT_MODEL,
        *,
        selection: Selection | None = None,
        fusion: Fusion | None = None,
        on_error: OnError = "degrade",
        deadline_ms: float | None = None,
        observers: Sequence[Observer] = (),
        when_cold: WhenCold = "wait",
    ) -> None:
        if on_error not in ("degrade", "raise"):
            raise ConfigurationError(f"on_error must be 'degrade' or 'raise', got {on_error!r}")
        if when_cold not in ("wait", "degrade"):
            raise ConfigurationError(f"when_cold must be 'wait' or 'degrade', got {when_cold!r}")
        check_deadline(deadline_ms)
        if fusion is not None and not hasattr(fusion, "fuse"):
            raise ConfigurationError(f"fusion must be a Fusion, such as ReciprocalRank(), or None, got {fusion!r:.80}")
        self.observers = check_observers(observers)
        self.scorer = _loaded(scorer, when_cold) if isinstance(scorer, str | Path) else _checked(scorer)
        self.selection = _checked_selection(Selection() if selection is None else selection)
        self.fusion = _checked_fusion(fusion, self.scorer)
        self.on_error = on_error
        self.deadline_ms = deadline_ms
        self._warm = threading.Event()
        self._executor = CallThreads("secondpass-rerank")

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

    @property
    def ready(self) -> bool:
        """Whether a warm-up has finished; of a model that loads in the background, whether that has."""
        return self.scorer.ready if isinstance(self.scorer, LoadedInBackground) else self._warm.is_set()

    def warmup(self, *, background: bool = False) -> None:
        """Run the model once, so that the first query doesn't pay for its initialisation.

        :param background: Return at once, and do it on a thread; ``ready`` says when it is done.
        """
        if background and isinstance(self.scorer, LoadedInBackground):
            self.scorer.begin()
            return
        if background:
            LoadingThread(self.warmup).start()
            return
        warm_up(self.scorer)
        self._warm.set()

    def rerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        exclude: Results = (),
    ) -> Ranking:
        """Return every candidate, kept or dropped with a reason.

        :param query: The query.
        :param candidates: Texts or candidates, in the first stage's order where they have no ranks.
        :param selection: Replaces the reranker's selection for this call.
        :param call: Deadline and cancellation; None creates one with the reranker's ``deadline_ms``.
        :param exclude: Earlier results that are not to be kept again: a ranking, candidates, or ids.
        :raises InputError: If the query or a candidate has the wrong type.
        :raises ScoringError: If scoring failed and ``on_error`` is ``"raise"``.
        :raises ConfigurationError: If the selection has a minimum probability and the scorer's scale has none.
        """
        started = time.perf_counter()
        request = Request.of(query, as_candidates(candidates))
        selection, excluded = self._checked(selection), as_excluded(exclude)
        call = call or Call(self.deadline_ms)
        (scoring,) = self._score([request], selection, call)
        return self._ranking(request, scoring, selection, started, call, excluded)

    def rerank_many(
        self,
        requests: Iterable[tuple[str, Iterable[str | Candidate]]],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        pairs_at_once: int = 1024,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Ranking]:
        """Yield a ranking for each query with its candidates, in their order.

        Batches are filled across queries. Memory is bounded: of the requests, any iterable, only those are held that
        are scored together. ``deadline_ms`` doesn't apply. A model whose scores depend on the batch scores each query
        by itself.

        :param requests: Queries with candidates, as ``rerank`` takes them.
        :param selection: Replaces the reranker's selection.
        :param call: Cancellation, and a deadline for all of it.
        :param pairs_at_once: Queries are taken until they have at least so many candidates, which are scored together.
        :param progress: Called with the queries and the candidates that are done.
        :raises ConfigurationError: If ``pairs_at_once`` is below 1, or as ``rerank``.
        :raises InputError: As ``rerank``.
        :raises ScoringError: As ``rerank``.
        """
        if pairs_at_once < 1:
            raise ConfigurationError(f"pairs_at_once must be 1 or more, got {pairs_at_once}")
        selection, call = self._checked(selection), call or Call()
        most = pairs_at_once if self.scorer.spec.batch_invariant else 1
        queries = pairs = 0
        stream = (Request.of(query, as_candidates(items)) for query, items in requests)
        for together in _grouped(stream, most, apart=not self.scorer.spec.call_invariant):
            started = time.perf_counter()
            scorings = self._score(together, selection, call)
            took = time.perf_counter() - started
            for request, scoring in zip(together, scorings, strict=True):
                yield self._ranking(request, scoring, selection, time.perf_counter() - took, call)
                queries, pairs = queries + 1, pairs + len(request.candidates)
            if progress:
                progress(queries, pairs)

    async def arerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        exclude: Results = (),
    ) -> Ranking:
        """Return what ``rerank`` returns, from a thread of the reranker's own.

        When the task is cancelled, the call is: scoring stops after the batch in progress. Up to 32 calls run at once;
        one whose deadline passes while it waits for a thread runs then, unscored.
        """
        call = call or Call(self.deadline_ms)
        work = partial(self.rerank, query, candidates, selection=selection, call=call, exclude=exclude)
        future = self._executor.submit(partial(copy_context().run, work))
        ranking = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([ranking], timeout=call.remaining)
            if not done:
                self._executor.run_now(future)
            return await ranking
        except asyncio.CancelledError:
            call.cancel()
            ranking.cancel()
            raise

    def _score(self, requests: Sequence[Request], selection: Selection, call: Call) -> list[Scoring]:
        """Score the requests; observers see it where that fails."""
        scorer, started = scorer_for(selection, self.scorer), time.perf_counter()
        try:
            return score_requests(scorer, requests, call, self.on_error)
        except (ScoringError, InputError, OSError) as error:
            for request in requests if self.observers else ():
                notify_failed(self.observers, error, self._info(started, request.query, selection))
            raise

    def _checked(self, selection: Selection | None) -> Selection:
        """Return the selection of a call.

        :raises ConfigurationError: If it has a minimum probability and the scorer's scale has none.
        """
        selection = _checked_selection(self.selection if selection is None else selection)
        _check_threshold(selection, self.scorer.spec)
        return selection

    def _ranking(
        self,
        request: Request,
        scoring: Scoring,
        selection: Selection,
        called: float,
        call: Call,
        excluded: Sequence[Candidate | str] = (),
    ) -> Ranking:
        """Order the candidates, select, and call the observers; the call began at ``called``."""
        ranked, fuse_stage = self._rank(request, scoring)
        started = time.perf_counter()
        closer = self._closer(request.query, scoring, selection, call)
        selected = select(ranked, selection, excluded, closer)
        closely = closer.stages if closer else ()
        seconds = time.perf_counter() - started - sum(stage.seconds for stage in closely)
        stages = (*scoring.stages, *fuse_stage, *closely, Stage("select", seconds, selected.facts))
        ranking = Ranking(
            request.query,
            selected.kept,
            selected.dropped,
            selected.context,
            selected.tokens,
            stages,
            by=scoring.by,
            degraded=scoring.degraded,
            answerable=_answerable(selected, scoring.by),
            notes=(*scoring.notes, *selected.notes),
        )
        if self.observers:
            notify(self.observers, ranking, self._info(called, request.query, selection))
        return ranking

    def _closer(self, query: str, scoring: Scoring, selection: Selection, call: Call) -> CloserReading | None:
        """Return what scores parts of a best candidate that doesn't fit the budget; None where that can't happen."""
        if scoring.by is None or selection.budget is None:
            return None
        most = selection.budget.max_tokens
        tokens = extract_tokens(min(most, max(24, most // 2)))  # below 24 there is hardly a whole sentence
        return CloserReading(scorer_for(selection, self.scorer), scoring.by, query, tokens, call)

    def _rank(self, request: Request, scoring: Scoring) -> tuple[list[Ranked], tuple[Stage, ...]]:
        """Order candidates by fused or raw value, ties by first-stage rank; the unscored follow the scored."""
        started = time.perf_counter()
        fitted = _fits(self.fusion, scoring.by)
        fused = self._fuse(request, scoring.outcomes) if fitted else {}
        scale = scoring.by.scale if scoring.by else None
        ranked = [
            Ranked(
                candidate,
                index,
                outcome,
                scale.probability(outcome.value) if scale and isinstance(outcome, Score) else None,
                fused.get(index),
                request.ranks[index],
            )
            for index, (candidate, outcome) in enumerate(zip(request.candidates, scoring.outcomes, strict=True))
        ]
        ranked.sort(key=_sort_key)
        if self.fusion is None:
            return ranked, ()
        facts = {"rule": repr(self.fusion)} | ({} if fitted else {"left_out": "fitted on another model's scores"})
        return ranked, (Stage("fuse", time.perf_counter() - started, facts),)

    def _fuse(self, request: Request, outcomes: Sequence[Score | Unscored]) -> dict[int, float]:
        scores = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Score)}
        if self.fusion is None or not scores:
            return {}
        signals = {signal for candidate in request.candidates for signal in candidate.signals}
        inputs = [FusionInput(request.candidates[p], outcome.value, request.ranks[p]) for p, outcome in scores.items()]
        return dict(zip(scores, self.fusion.fuse(inputs, signals), strict=True))

    def _info(self, started: float, query: str, selection: Selection) -> CallInfo:
        """Return the record of a call that began at ``started``, for observers."""
        on_error = None if self.on_error == "degrade" else self.on_error
        reranking = {"fusion": self.fusion, "deadline_ms": self.deadline_ms, "on_error": on_error}
        return CallInfo.since(started, query, self.scorer.spec.name, selection, reranking)


def _loaded(name: str | Path, when_cold: WhenCold) -> Scorer:
    return load_scorer(name) if when_cold == "wait" else LoadedInBackground(LoadKey(name))


def _checked(given: Scorer | ListScorer) -> Scorer:
    scorer = as_scorer(given)
    if not isinstance(scorer, Scorer) or isinstance(scorer, type):
        raise ConfigurationError(
            f"scorer must be a model's name, a folder, or an object with spec and score_pairs, got {scorer!r:.80}"
        )
    return scorer


def _checked_selection(selection: Selection) -> Selection:
    if not isinstance(selection, Selection):
        raise ConfigurationError(f"selection must be a Selection, such as Selection(top_k=3), got {selection!r:.80}")
    return selection


def _checked_fusion(fusion: Fusion | None, scorer: Scorer) -> Fusion | None:
    """Return the fusion rule; of a model that loads in the background, the first call sees whether it fits."""
    if isinstance(fusion, LearnedFusion) and not isinstance(scorer, LoadedInBackground):
        fusion.check(scorer.spec.calibrated_as, scorer.spec.name)
    return fusion


def _fits(fusion: Fusion | None, by: Spec | None) -> bool:
    """Return whether a fusion rule is for the scorer that answered, such as the second one of a ``Fallback``."""
    return by is None or not isinstance(fusion, LearnedFusion) or fusion.fingerprint == by.calibrated_as


def _check_threshold(selection: Selection, spec: Spec) -> None:
    needs = {
        "min_probability": selection.min_probability is not None,
        "CoveredMass": isinstance(selection.adaptive, CoveredMass),
    }
    for name, needed in needs.items():
        if needed and not spec.scale.has_probabilities:
            raise ConfigurationError(
                f"{name} needs scores on a known scale, and that of {spec.name} is unknown: use top_k or a budget, or "
                "give the scorer a scale"
            )


def scorer_for(selection: Selection, scorer: Scorer) -> Scorer:
    """Return the scorer that a selection needs: with the policy ``"extract"`` one that scores small windows."""
    if selection.policy != "extract" or scorer.spec.own_windows:
        return scorer
    return (scorer if isinstance(scorer, Windowed) else Windowed(scorer)).for_extraction(_true_tokens(selection))


def _true_tokens(selection: Selection) -> int | None:
    """Return about how many tokens of a model fit the budget: an estimate is half as much above the true count."""
    budget = selection.budget
    if budget is None:
        return None
    return budget.max_tokens if budget.counting.exact else 2 * budget.max_tokens // 3


def _sort_key(item: Ranked) -> tuple[bool, float, float, int]:
    value = item.fused if item.fused is not None else item.score
    place = item.outcome.place if isinstance(item.outcome, Unscored) else None
    return value is None, -(value or 0.0), math.inf if place is None else place, item.rank_before


def _answerable(selected: Selected, by: Spec | None) -> float | None:
    """Return the probability that the kept candidates hold the answer, from their scores and the others'."""
    scores = [item.score for item in selected.kept]
    kept = [score for score in scores if score is not None]
    if by is None or by.answerability is None or len(kept) < len(scores):
        return None
    dropped = [item.score for item in selected.dropped if item.score is not None]
    return by.answerability.probability(*([by.scale.log_odds(value) for value in side] for side in (kept, dropped)))


def _grouped(requests: Iterable[Request], pairs: int, *, apart: bool) -> Iterator[list[Request]]:
    """Yield consecutive requests that have at least so many candidates together; the last ones may have fewer.

    :param apart: Whether a query that comes again begins another group: its candidates aren't to compete with those
        of the first.
    """
    together: list[Request] = []
    count = 0
    for request in requests:
        if apart and any(request.query == other.query for other in together):
            yield together
            together, count = [], 0
        together.append(request)
        count += len(request.candidates)
        if count >= pairs:
            yield together
            together, count = [], 0
    if together:
        yield together
